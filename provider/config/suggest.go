package config

import "strings"

// Closest is the known word that a typing mistake most likely meant, or empty
// when none is near: one wrong letter in three, rounded up, is taken for a slip.
func Closest(word string, known []string) string {
	best, least := "", (len(word)+2)/3+1
	for _, candidate := range known {
		if d := distance(strings.ToLower(word), candidate); d < least {
			best, least = candidate, d
		}
	}
	return best
}

// distance is Levenshtein's: how many bytes to insert, remove or replace to
// make one word the other. One row of the usual table is enough.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
