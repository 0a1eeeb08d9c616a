package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/go-zookeeper/zk"
)

// work is one competing process: KIND ROOT NAME. The one named "victim" stops at its most
// awkward moment, says "holding", and waits there to be killed.
func work(kind, root, name string) {
	client := connect()
	defer client.Close()
	say := func(words ...any) { fmt.Println(words...) }
	hold := func() {
		say("holding")
		time.Sleep(time.Hour)
	}
	switch kind {
	case "lock":
		lock := zk.NewLock(client, root+"/lock", open)
		for turn := 0; turn < 15; turn++ {
			must(lock.Lock())
			// Fails with ErrNodeExists when a second process is inside.
			_, err := client.Create(root+"/inside", nil, zk.FlagEphemeral, open)
			must(err)
			data, _, err := client.Get(root + "/count")
			must(err)
			count, err := strconv.Atoi(string(data))
			must(err)
			_, err = client.Set(root+"/count", []byte(strconv.Itoa(count+1)), -1)
			must(err)
			if name == "victim" && turn == 4 {
				hold()
			}
			must(client.Delete(root+"/inside", -1))
			must(lock.Unlock())
			say("did")
		}
	case "transfer":
		for moved := 0; moved < 25; {
			source, sourceStat, err := client.Get(root + "/source")
			must(err)
			target, targetStat, err := client.Get(root + "/target")
			must(err)
			from, err := strconv.Atoi(string(source))
			must(err)
			to, err := strconv.Atoi(string(target))
			must(err)
			_, err = client.Multi(
				&zk.SetDataRequest{Path: root + "/source", Data: []byte(strconv.Itoa(from - 1)), Version: sourceStat.Version},
				&zk.SetDataRequest{Path: root + "/target", Data: []byte(strconv.Itoa(to + 1)), Version: targetStat.Version},
				&zk.CreateRequest{Path: root + "/moves/" + name + "-", Acl: open, Flags: zk.FlagSequence},
			)
			if err == zk.ErrBadVersion {
				continue
			}
			must(err)
			moved++
			if name == "victim" && moved == 8 {
				hold()
			}
		}
	case "leader":
		// The lowest number leads; the others each watch the one before them.
		mine, err := client.CreateProtectedEphemeralSequential(root+"/candidates/c-", []byte(name), open)
		must(err)
		say("stands")
		for {
			before := predecessor(client, root+"/candidates", mine)
			if before == "" {
				break
			}
			there, _, changed, err := client.ExistsW(root + "/candidates/" + before)
			must(err)
			if there {
				<-changed
			}
		}
		_, err = client.Create(root+"/inside", nil, zk.FlagEphemeral, open)
		must(err)
		say("leading")
		bufio.NewReader(os.Stdin).ReadString('\n')
	default:
		must(fmt.Errorf("no such work: %s", kind))
	}
	say("finished")
}
