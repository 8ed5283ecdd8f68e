package config

// checks judges what the schema can't: what values mean, and together.
type checks struct {
	*document
	c *Config
}

// fault notes what is wrong with the value at path.
func (k *checks) fault(path, problem, fix string) { k.add(k.valueAt(path), path, problem, fix) }

func (k *checks) all() {}
