package redisrev

// keys makes the names of a list's keys. All begin with one hash tag.
type keys struct{ tag, epoch, log, nodes string }

func newKeys(tag string) keys {
	return keys{tag: tag, epoch: tag + "epoch", log: tag + "log", nodes: tag + "nodes"}
}

// all is what a script about nodes is given.
func (k keys) all() []string { return []string{k.epoch, k.log, k.nodes} }
