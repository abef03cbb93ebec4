UPDATE tokens SET used_by = $used_by WHERE token_id = $token_id
