package leasemodel_test

import (
	"fmt"

	"github.com/doorward/doorward/internal/leasemodel"
)

// Why a revoker waits: the shortest way to an accepted token if it doesn't.
func ExampleModel_Explore() {
	m := leasemodel.Model{Nodes: 1, Revocations: 1, Lease: 2, Durable: true}
	fmt.Println(m.Explore(leasemodel.Broken).Trace)

	m.Without.WaitForNodes = true
	for _, step := range m.Explore(leasemodel.Broken).Trace {
		fmt.Println(step)
	}
	// Output:
	// []
	//  1. A asks Redis 1 for a lease, which answers
	//       Redis 1: master, epoch 1, log [], registered A at 0 of epoch 0
	//       A: no epoch, asked 0 ticks ago, reply: epoch 1, 0 entries after 0, on its way
	//  2. A takes the reply
	//       A: at 0 of epoch 1, knows [], leased since 0 ticks
	//  3. revoker 1 writes the end of s1 on Redis 1
	//       Redis 1: master, epoch 1, log [s1], registered A at 0 of epoch 0
	//       revoker 1: entry 1 of epoch 1 written 0 ticks ago, has seen epoch 1 for 2 ticks
	//  4. revoker 1 asks Redis 1 who lags
	//       Redis 1: master, epoch 1, log [s1]
	//       revoker 1: has returned in epoch 1
	//     A check that starts now at A accepts a token of s1 in epoch 1, which was ended
}
