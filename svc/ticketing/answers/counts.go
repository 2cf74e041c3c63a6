package answers

import (
	"maps"
	"slices"

	"github.com/starlightsymphony/starlight/shared/api"
)

// CountOf returns the counts of one question. What nobody has chosen of its choices is there with 0.
func CountOf(q api.Question, counts []Count) api.QuestionCount {
	out := api.QuestionCount{Question: q}
	times := map[string]int{}
	for _, c := range counts {
		if c.QuestionID != q.ID {
			continue
		}
		out.Answered += c.Answered
		if c.Pick != "" {
			times[c.Pick] = c.Times
		}
	}
	for _, o := range q.Choices {
		if n := times[o.ID.String()]; n > 0 || !o.Hidden {
			out.Choices = append(out.Choices, api.ChoiceCount{Choice: o.ID.String(), Label: o.Label, Count: n})
		}
		delete(times, o.ID.String())
	}
	for _, pick := range slices.Sorted(maps.Keys(times)) {
		out.Choices = append(out.Choices, api.ChoiceCount{Choice: pick, Count: times[pick]})
	}
	slices.SortStableFunc(out.Choices, func(a, b api.ChoiceCount) int { return b.Count - a.Count })
	return out
}
