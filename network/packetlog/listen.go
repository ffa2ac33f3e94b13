//go:build linux

package packetlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Messages and attributes of the kernel's nfnetlink_log, from its uapi.
const (
	messagePacket = unix.NFNL_SUBSYS_ULOG << 8
	messageConfig = messagePacket | 1

	configCommand   = 1
	configMode      = 2
	configThreshold = 5
	commandBind     = 1
	copyPacket      = 2

	attributeIn      = 4
	attributePayload = 9
)

// snapshot is how many bytes of a packet are read: its headers.
const snapshot = 128

// Listener receives the packets of a group until it is closed.
type Listener struct {
	conn    *netlink.Conn
	running sync.WaitGroup
}

// Listen receives the packets that rules of the calling thread's network namespace
// log to the group, which nobody else may listen to, and calls each for one
// after another. Packets that come too fast are lost.
func Listen(group uint16, each func(Packet)) (*Listener, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("opening the log of packets: %w", err)
	}
	for _, attribute := range []netlink.Attribute{
		{Type: configCommand, Data: []byte{commandBind}},
		{Type: configMode, Data: append(binary.BigEndian.AppendUint32(nil, snapshot), copyPacket, 0)},
		{Type: configThreshold, Data: binary.BigEndian.AppendUint32(nil, 1)},
	} {
		if err := configure(conn, group, attribute); err != nil {
			err = fmt.Errorf("listening to group %d of the log of packets: %w", group, err)
			return nil, errors.Join(err, conn.Close())
		}
	}
	l := &Listener{conn: conn}
	l.running.Go(func() { receive(conn, each) })
	return l, nil
}

// Close ends the listener, and returns when it has ended.
func (l *Listener) Close() error {
	err := l.conn.Close()
	l.running.Wait()
	if err != nil {
		return fmt.Errorf("closing the log of packets: %w", err)
	}
	return nil
}

func configure(conn *netlink.Conn, group uint16, attribute netlink.Attribute) error {
	attributes, err := netlink.MarshalAttributes([]netlink.Attribute{attribute})
	if err != nil {
		return err
	}
	header := binary.BigEndian.AppendUint16([]byte{unix.AF_UNSPEC, unix.NFNETLINK_V0}, group)
	_, err = conn.Execute(netlink.Message{
		Header: netlink.Header{Type: messageConfig, Flags: netlink.Request | netlink.Acknowledge},
		Data:   append(header, attributes...),
	})
	return err
}

// receive ends when the connection is closed, and goes on when the kernel says that
// it had no room for more.
func receive(conn *netlink.Conn, each func(Packet)) {
	for {
		messages, err := conn.Receive()
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			return
		}
		for _, message := range messages {
			if packet, ok := read(message); ok {
				each(packet)
			}
		}
	}
}

// read returns the IP packet in a message, if there is one.
func read(message netlink.Message) (Packet, bool) {
	const header = 4
	if message.Header.Type != messagePacket || len(message.Data) < header {
		return Packet{}, false
	}
	attributes, err := netlink.UnmarshalAttributes(message.Data[header:])
	if err != nil {
		return Packet{}, false
	}
	var in int
	var payload []byte
	for _, a := range attributes {
		switch {
		case a.Type == attributePayload:
			payload = a.Data
		case a.Type == attributeIn && len(a.Data) == 4:
			in = int(binary.BigEndian.Uint32(a.Data))
		}
	}
	packet, ok := parse(payload)
	packet.In = in
	return packet, ok
}
