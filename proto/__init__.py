"""The contract between the programs: messages, plain values and the schema of the store."""
