package batch_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"

	"github.com/starlightsymphony/starlight/shared/batch"
	"github.com/starlightsymphony/starlight/shared/fault"
)

// Orders for one hot event share commits: what arrives during a commit becomes the next one. Each order still has its
// own answer.
func Example() {
	left := 3
	began, finish := make(chan struct{}), make(chan struct{})
	slow := sync.OnceFunc(func() { close(began); <-finish })
	orders := batch.New(1000, 4096, func(_ context.Context, quantities []int) []batch.Result[string] {
		slow() // the first commit takes until finish is closed
		fmt.Println("a commit of", len(quantities))
		results := make([]batch.Result[string], len(quantities))
		for i, quantity := range quantities {
			if quantity > left {
				results[i].Err = fault.New(fault.SoldOut, "%d left", left)
				continue
			}
			left -= quantity
			results[i].Out = fmt.Sprintf("%d held", quantity)
		}
		return results
	})
	defer orders.Close()

	ctx := context.Background()
	var buyers sync.WaitGroup
	answers := make([]string, 4)
	for i := range answers {
		buyers.Go(func() {
			out, err := orders.Do(ctx, 1)
			if err != nil {
				out = err.Error()
			}
			answers[i] = out
		})
		<-began // the first order is being committed, the others wait
		for orders.Waiting() < i {
			runtime.Gosched()
		}
	}
	close(finish)
	buyers.Wait()
	for _, answer := range answers {
		fmt.Println(answer)
	}
	// Output:
	// a commit of 1
	// a commit of 3
	// 1 held
	// 1 held
	// 1 held
	// sold_out: 0 left
}
