//go:build linux

package main

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func choices(seed uint64, n int) (chosen []string) {
	r := &round{Rand: rand.New(rand.NewPCG(seed, 1))}
	for range n {
		chosen = append(chosen, r.choose().name)
	}
	return chosen
}

func TestChoicesFollowFromTheSeed(t *testing.T) {
	require.Equal(t, choices(1, 100), choices(1, 100))
	require.NotEqual(t, choices(1, 100), choices(2, 100))
}

func TestEveryActHappens(t *testing.T) {
	chosen := choices(1, 2000)
	for _, a := range acts {
		require.Contains(t, chosen, a.name)
	}
}

func TestSomeAreOneAtLeast(t *testing.T) {
	r := &round{Rand: rand.New(rand.NewPCG(1, 1))}
	require.Empty(t, r.some(nil))
	for range 20 {
		require.Equal(t, []string{"a"}, r.some([]string{"a"}))
	}
}
