package store

// Waiting returns how many transactions of the group wait for their turn.
func (g *Group) Waiting() int {
	g.lane.mu.Lock()
	defer g.lane.mu.Unlock()
	return g.lane.queue.Len()
}
