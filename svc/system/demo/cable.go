package demo

import (
	"errors"
	"io"
	"net"
	"sync"
)

// Cable is the line between a venue and the system, as a person could pull it out: it passes on what is sent to it,
// unless it is cut.
type Cable struct {
	ln net.Listener
	to string
	wg sync.WaitGroup

	mu   sync.Mutex
	cut  bool
	open map[net.Conn]bool
}

// NewCable returns a cable to an address. Close ends it.
func NewCable(to string) (*Cable, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &Cable{ln: ln, to: to, open: map[net.Conn]bool{}}
	c.wg.Go(c.accept)
	return c, nil
}

// Address is the near end of the cable.
func (c *Cable) Address() string { return c.ln.Addr().String() }

// Cut ends all connections, and lets none through until Join.
func (c *Cable) Cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = true
	for conn := range c.open {
		_ = conn.Close() // which is what it is for
	}
}

// Join lets connections through again.
func (c *Cable) Join() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = false
}

// Close ends the cable.
func (c *Cable) Close() error {
	err := c.ln.Close()
	c.Cut()
	c.wg.Wait()
	return err
}

func (c *Cable) accept() {
	for {
		near, err := c.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || !c.keep(near) {
			continue
		}
		c.wg.Go(func() { c.pass(near) })
	}
}

// keep notes a connection, or closes it if the cable is cut.
func (c *Cable) keep(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut {
		_ = conn.Close()
		return false
	}
	c.open[conn] = true
	return true
}

func (c *Cable) drop(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = conn.Close()
	delete(c.open, conn)
}

// pass copies both ways until either end is closed.
func (c *Cable) pass(near net.Conn) {
	defer c.drop(near)
	far, err := net.Dial("tcp", c.to)
	if err != nil || !c.keep(far) {
		return
	}
	defer c.drop(far)
	c.wg.Go(func() {
		_, _ = io.Copy(far, near)
		c.drop(far)
	})
	_, _ = io.Copy(near, far)
}
