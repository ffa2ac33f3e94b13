package config

// Schema is
func Schema() any { return nil }
