package pool

// Shrink marks workers as being deleted and returns at once; they are torn
// down in the background. It returns the ids that the caller need not ask for
// again, which is all of them: one that is unknown, or being deleted already, has
// what was asked for it.
func (p *Pool) Shrink(ids []string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range ids {
		w, known := p.workers[id]
		if !known || w.state == Deleting || w.state == Deleted {
			continue
		}
		w.state, w.reason = Deleting, errShrunk.Error()
		w.end(errShrunk)
	}
	return ids
}
