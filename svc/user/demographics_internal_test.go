package user

import (
	"fmt"
	"testing"
)

func TestAgeBand(t *testing.T) {
	for age, want := range map[int]string{0: "under 18", 17: "under 18", 18: "18-24", 24: "18-24", 25: "25-34",
		64: "55-64", 65: "65+", 130: "65+", 131: "", -1: ""} {
		if got := ageBand(2027-age, 2027); got != want {
			t.Errorf("%s: %q, want %q", fmt.Sprint(age), got, want)
		}
	}
	if got := ageBand(0, 2027); got != "" {
		t.Errorf("no year is %q", got)
	}
}
