-- Unused tokens end now.
UPDATE tokens SET expires_at_us = $at_us WHERE used_by IS NULL AND expires_at_us > $at_us
