package pool

// Shrink marks workers as being deleted and returns at once; they are torn
// down in the background. It returns the ids that the caller need not ask for
// again, which is all of them: one that is unknown or on its way out already
// has what was asked for it.
func (p *Pool) Shrink(ids []string) []string {
	for _, w := range p.condemn(ids) {
		w.end(errShrunk)
	}
	return ids
}

// condemn marks those workers that are still to live, and returns them.
func (p *Pool) condemn(ids []string) []*worker {
	p.mu.Lock()
	defer p.mu.Unlock()
	var condemned []*worker
	for _, id := range ids {
		w, known := p.workers[id]
		if !known || w.state == Deleting || w.state == Deleted {
			continue
		}
		w.state, w.reason = Deleting, errShrunk.Error()
		condemned = append(condemned, w)
	}
	return condemned
}
