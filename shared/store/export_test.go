package store

// Waiting returns how many transactions of the group wait for their turn.
func (g *Group) Waiting() int {
	g.queue.mu.Lock()
	defer g.queue.mu.Unlock()
	return g.queue.waiting.Len()
}
