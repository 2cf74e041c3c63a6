package command

import (
	"fmt"
	"strconv"

	"github.com/starlightsymphony/starlight/shared/api"
	"github.com/starlightsymphony/starlight/svc/config"
)

type rebuildCommand struct {
	Analytics rebuildAnalytics `cmd:"" help:"Forget the numbers of analytics, in every instance, and fold the streams again from their beginning."`
}

type rebuildAnalytics struct{ target }

// Run raises the generation of the read model. Instances that run begin at once, others when they start.
func (c rebuildAnalytics) Run(s *streams) error {
	key := api.AnalyticsGeneration.Key()
	return c.with(s.ctx, key, func(v *config.Values) error {
		now, err := v.Get(s.ctx, key)
		if err != nil {
			return err
		}
		generation, err := strconv.Atoi(now.Value)
		if err != nil {
			return err
		}
		next, err := v.Put(s.ctx, key, strconv.Itoa(generation+1))
		if err != nil {
			return err
		}
		fmt.Fprintln(s.out, "analytics is built again, generation", next.Value)
		return nil
	})
}
