// What a go-zookeeper user relies on, checked against the server named by ZK_CONNECT.
// Arguments name the checks to run; without any, all run.
package main

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"reflect"
	"runtime/debug"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"
)

const (
	sessionTimeout = 4 * time.Second
	patience       = 45 * time.Second
	atOnce         = 8
	// Containers and TTL nodes are looked at once a minute by default.
	reapingPatience = 80 * time.Second
)

var open = zk.WorldACL(zk.PermAll)

// must ends this check (or this process, in a worker) with a stack that shows the line.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func want(truth bool, format string, words ...any) {
	if !truth {
		panic(fmt.Errorf(format, words...))
	}
}

func wantError(got, wanted error) {
	want(errors.Is(got, wanted), "got %v, wanted %v", got, wanted)
}

func equal(got, wanted any) {
	want(reflect.DeepEqual(got, wanted), "got %v, wanted %v", got, wanted)
}

func until(what string, limit time.Duration, holds func() bool) {
	for end := time.Now().Add(limit); !holds(); time.Sleep(20 * time.Millisecond) {
		want(time.Now().Before(end), "never came true: %s", what)
	}
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}

func connect() *zk.Conn {
	client, _ := dial(net.DialTimeout)
	return client
}

func dial(dialer zk.Dialer) (*zk.Conn, <-chan zk.Event) {
	client, events, err := zk.Connect([]string{os.Getenv("ZK_CONNECT")}, sessionTimeout,
		zk.WithDialer(dialer), zk.WithLogger(quiet{}))
	must(err)
	until("a session", 15*time.Second, func() bool { return client.State() == zk.StateHasSession })
	return client, events
}

// predecessor names the child just before mine in the order of creation, "" for none.
func predecessor(client *zk.Conn, parent, mine string) string {
	number := func(name string) string { return name[len(name)-10:] }
	children, _, err := client.Children(parent)
	must(err)
	before := ""
	for _, child := range children {
		if number(child) < number(mine) && (before == "" || number(child) > number(before)) {
			before = child
		}
	}
	return before
}

// room is one check's root, client and processes.
type room struct {
	root    string
	client  *zk.Conn
	clients []*zk.Conn
	workers []*worker
}

func (r *room) another() *zk.Conn {
	client := connect()
	r.clients = append(r.clients, client)
	return client
}

func (r *room) create(name, data string) string {
	path, err := r.client.Create(r.root+name, []byte(data), 0, open)
	must(err)
	return path
}

func (r *room) number(name string) int {
	data, _, err := r.client.Get(r.root + name)
	must(err)
	number, err := strconv.Atoi(string(data))
	must(err)
	return number
}

func (r *room) gone(name string) bool {
	there, _, err := r.client.Exists(r.root + name)
	must(err)
	return !there
}

type worker struct {
	name   string
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	lines  chan string
	errors strings.Builder
}

func (r *room) start(kind, name string) *worker {
	w := &worker{name: name, cmd: exec.Command(os.Args[0], "worker", kind, r.root, name), lines: make(chan string, 1000)}
	w.cmd.Stderr = &w.errors
	stdin, err := w.cmd.StdinPipe()
	must(err)
	w.stdin = stdin
	stdout, err := w.cmd.StdoutPipe()
	must(err)
	must(w.cmd.Start())
	go func() {
		for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
			w.lines <- scanner.Text()
		}
		close(w.lines)
	}()
	r.workers = append(r.workers, w)
	return w
}

func (r *room) three(kind string) []*worker {
	return []*worker{r.start(kind, "first"), r.start(kind, "victim"), r.start(kind, "third")}
}

func (w *worker) expect(word string) {
	limit := time.After(patience)
	for {
		select {
		case line, more := <-w.lines:
			if !more {
				w.cmd.Wait()
				panic(fmt.Errorf("%s ended before %q: %s", w.name, word, w.errors.String()))
			}
			if line == word {
				return
			}
		case <-limit:
			panic(fmt.Errorf("%s never said %q", w.name, word))
		}
	}
}

// silent tells that the worker has said nothing yet that expect has not consumed.
func (w *worker) silent() bool { return len(w.lines) == 0 }

func (w *worker) kill() {
	must(w.cmd.Process.Kill())
	w.cmd.Wait()
}

func (w *worker) finish() {
	w.expect("finished")
	must(w.cmd.Wait())
}

func killHolder(workers []*worker) {
	workers[1].expect("holding")
	workers[1].kill()
	workers[0].finish()
	workers[2].finish()
}

// cuttable is a dialer whose connection can be cut, and kept cut.
type cuttable struct {
	sync.Mutex
	conn net.Conn
	shut bool
}

func (c *cuttable) dial(network, address string, timeout time.Duration) (net.Conn, error) {
	c.Lock()
	defer c.Unlock()
	if c.shut {
		return nil, errors.New("the line is cut")
	}
	conn, err := net.DialTimeout(network, address, timeout)
	c.conn = conn
	return conn, err
}

func (c *cuttable) cut() {
	c.Lock()
	defer c.Unlock()
	c.shut = true
	c.conn.Close()
}

func (c *cuttable) mend() {
	c.Lock()
	defer c.Unlock()
	c.shut = false
}

func next(events <-chan zk.Event) zk.Event {
	select {
	case event := <-events:
		return event
	case <-time.After(patience):
		panic(errors.New("no event came"))
	}
}

var checks = []struct {
	name string
	run  func(*room)
}{
	{"containers_and_ttl_nodes_are_reaped", reaping},
	{"nodes_and_their_stats", nodes},
	{"watches_fire_once", watches},
	{"multi_is_whole", multi},
	{"access_is_checked", access},
	{"requests_in_flight_keep_their_order", inFlight},
	{"lock_excludes", lockExcludes},
	{"transfers_keep_the_sum", transfers},
	{"leader_is_one_and_is_replaced", leader},
	{"a_cut_line_keeps_session_and_watches", cutLine},
	{"a_long_cut_expires_the_session", longCut},
	{"a_closed_session_takes_its_nodes", closed},
	{"ruok_is_answered", words},
}

func nodes(r *room) {
	path := r.create("/a", "one")
	_, err := r.client.Create(path, nil, 0, open)
	wantError(err, zk.ErrNodeExists)
	_, err = r.client.Create(r.root+"/no/parent", nil, 0, open)
	wantError(err, zk.ErrNoNode)
	data, stat, err := r.client.Get(path)
	must(err)
	equal(string(data), "one")
	want(stat.Czxid == stat.Mzxid && stat.Version == 0 && stat.DataLength == 3, "stat %+v", stat)
	after, err := r.client.Set(path, []byte("two!"), 0)
	must(err)
	want(after.Version == 1 && after.Czxid == stat.Czxid && after.Mzxid > stat.Mzxid && after.DataLength == 4, "stat %+v", after)
	_, err = r.client.Set(path, nil, 0)
	wantError(err, zk.ErrBadVersion)
	r.create("/a/b", "")
	wantError(r.client.Delete(path, -1), zk.ErrNotEmpty)
	wantError(r.client.Delete(path+"/b", 5), zk.ErrBadVersion)
	ephemeral, err := r.client.Create(r.root+"/e", nil, zk.FlagEphemeral, open)
	must(err)
	_, stat, err = r.client.Exists(ephemeral)
	must(err)
	equal(stat.EphemeralOwner, r.client.SessionID())
	_, err = r.client.Create(ephemeral+"/f", nil, 0, open)
	wantError(err, zk.ErrNoChildrenForEphemerals)
	for number := 1; number <= 3; number++ {
		name, err := r.client.Create(path+"/s-", nil, zk.FlagSequence, open)
		must(err)
		equal(name, fmt.Sprintf("%s/s-%010d", path, number))
	}
	children, stat, err := r.client.Children(path)
	must(err)
	sort.Strings(children)
	equal(children, []string{"b", "s-0000000001", "s-0000000002", "s-0000000003"})
	equal(stat.NumChildren, int32(4))
	synced, err := r.client.Sync(path)
	must(err)
	equal(synced, path)
}

func reaping(r *room) {
	container, err := r.client.CreateContainer(r.root+"/container", nil, zk.FlagContainer, open)
	must(err)
	r.create("/container/child", "")
	_, stat, err := r.client.Exists(container)
	must(err)
	// The server marks such nodes in this very field; clients are shown nothing of it.
	equal(stat.EphemeralOwner, int64(0))
	_, err = r.client.CreateContainer(r.root+"/never-used", nil, zk.FlagContainer, open)
	must(err)
	_, err = r.client.CreateTTL(r.root+"/brief", nil, zk.FlagTTL, open, 1500*time.Millisecond)
	must(err)
	_, stat, err = r.client.Exists(r.root + "/brief")
	must(err)
	equal(stat.EphemeralOwner, int64(0))
	numbered, err := r.client.CreateTTL(r.root+"/long-", nil, zk.FlagPersistentSequentialWithTTL, open, time.Hour)
	must(err)
	must(r.client.Delete(container+"/child", -1))
	until("the empty container and the old node are gone", reapingPatience, func() bool {
		return r.gone("/container") && r.gone("/brief")
	})
	want(!r.gone("/never-used"), "a container that never had a child was taken")
	want(!r.gone(strings.TrimPrefix(numbered, r.root)), "a node was taken long before its time")
}

func watches(r *room) {
	path := r.root + "/w"
	there, _, events, err := r.client.ExistsW(path)
	must(err)
	want(!there, "there already")
	r.create("/w", "")
	event := next(events)
	want(event.Type == zk.EventNodeCreated && event.Path == path, "event %+v", event)
	_, _, events, err = r.client.GetW(path)
	must(err)
	for _, value := range []string{"1", "2"} {
		_, err = r.client.Set(path, []byte(value), -1)
		must(err)
	}
	equal(next(events).Type, zk.EventNodeDataChanged)
	_, more := <-events
	want(!more, "a watch fired twice")
	_, _, children, err := r.client.ChildrenW(path)
	must(err)
	_, _, events, err = r.client.GetW(path)
	must(err)
	r.create("/w/x", "")
	equal(next(children).Type, zk.EventNodeChildrenChanged)
	want(len(events) == 0, "a data watch fired for a child")
	must(r.client.Delete(path+"/x", -1))
	must(r.client.Delete(path, -1))
	equal(next(events).Type, zk.EventNodeDeleted)
}

func multi(r *room) {
	path := r.root + "/a"
	answers, err := r.client.Multi(
		&zk.CreateRequest{Path: path, Data: []byte("1"), Acl: open},
		&zk.CreateRequest{Path: path + "/b-", Acl: open, Flags: zk.FlagSequence},
		&zk.SetDataRequest{Path: path, Data: []byte("2"), Version: 0},
		&zk.CheckVersionRequest{Path: path, Version: 1},
	)
	must(err)
	equal(answers[0].String, path)
	equal(answers[1].String, path+"/b-0000000000")
	equal(answers[2].Stat.Version, int32(1))
	_, err = r.client.Multi(
		&zk.CreateRequest{Path: r.root + "/gone", Acl: open},
		&zk.DeleteRequest{Path: answers[1].String, Version: -1},
		&zk.CheckVersionRequest{Path: path, Version: 9},
	)
	wantError(err, zk.ErrBadVersion)
	want(r.gone("/gone") && !r.gone("/a/b-0000000000"), "half a multi was applied")
}

func access(r *room) {
	owner, stranger := r.another(), r.another()
	must(owner.AddAuth("digest", []byte("ann:secret")))
	must(stranger.AddAuth("digest", []byte("bob:other")))
	path := r.root + "/own"
	_, err := owner.Create(path, []byte("mine"), 0, zk.AuthACL(zk.PermAll))
	must(err)
	_, _, err = stranger.Get(path)
	wantError(err, zk.ErrNoAuth)
	_, err = r.client.Set(path, nil, -1)
	wantError(err, zk.ErrNoAuth)
	acl, _, err := owner.GetACL(path)
	must(err)
	equal(acl, zk.DigestACL(zk.PermAll, "ann", "secret"))
	_, err = owner.SetACL(path, append(acl, zk.WorldACL(zk.PermRead)...), 0)
	must(err)
	data, _, err := stranger.Get(path)
	must(err)
	equal(string(data), "mine")
	_, err = stranger.Set(path, nil, -1)
	wantError(err, zk.ErrNoAuth)
	_, err = owner.SetACL(path, acl, 0)
	wantError(err, zk.ErrBadVersion)
	_, err = r.client.Create(r.root+"/none", nil, 0, zk.AuthACL(zk.PermAll))
	wantError(err, zk.ErrInvalidACL)
}

func inFlight(r *room) {
	const writers, each = 16, 100
	var wait sync.WaitGroup
	failures := make(chan error, writers)
	for writer := 0; writer < writers; writer++ {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for number := 0; number < each; number++ {
				if _, err := r.client.Create(r.root+"/n-", nil, zk.FlagSequence, open); err != nil {
					failures <- err
					return
				}
			}
		}()
	}
	wait.Wait()
	close(failures)
	must(<-failures)
	children, stat, err := r.client.Children(r.root)
	must(err)
	sort.Strings(children)
	equal(len(children), writers*each)
	equal(children[len(children)-1], fmt.Sprintf("n-%010d", writers*each-1))
	equal(stat.Cversion, int32(writers*each))
}

func lockExcludes(r *room) {
	r.create("/count", "0")
	killHolder(r.three("lock"))
	equal(r.number("/count"), 15+15+5)
	children, _, err := r.client.Children(r.root + "/lock")
	must(err)
	equal(len(children), 0)
}

func transfers(r *room) {
	r.create("/source", "100")
	r.create("/target", "0")
	r.create("/moves", "")
	killHolder(r.three("transfer"))
	equal(r.number("/source"), 100-58)
	equal(r.number("/target"), 58)
	moves, _, err := r.client.Children(r.root + "/moves")
	must(err)
	equal(len(moves), 58)
}

func leader(r *room) {
	r.create("/candidates", "")
	var workers []*worker
	for _, name := range []string{"first", "second", "third"} {
		w := r.start("leader", name)
		w.expect("stands")
		workers = append(workers, w)
	}
	workers[0].expect("leading")
	want(workers[1].silent() && workers[2].silent(), "two lead")
	workers[0].kill()
	workers[1].expect("leading")
	want(workers[2].silent(), "two lead")
	_, err := workers[1].stdin.Write([]byte("\n"))
	must(err)
	workers[1].finish()
	workers[2].expect("leading")
	_, err = workers[2].stdin.Write([]byte("\n"))
	must(err)
	workers[2].finish()
}

func cutLine(r *room) {
	line := &cuttable{}
	client, _ := dial(line.dial)
	r.clients = append(r.clients, client)
	session := client.SessionID()
	_, err := client.Create(r.root+"/owned", nil, zk.FlagEphemeral, open)
	must(err)
	r.create("/quiet", "")
	r.create("/data", "0")
	r.create("/list", "")
	_, _, quietly, err := client.GetW(r.root + "/quiet")
	must(err)
	_, _, data, err := client.GetW(r.root + "/data")
	must(err)
	_, _, list, err := client.ChildrenW(r.root + "/list")
	must(err)
	_, _, born, err := client.ExistsW(r.root + "/born")
	must(err)
	line.cut()
	until("the line is seen to be cut", patience, func() bool { return client.State() != zk.StateHasSession })
	_, err = r.client.Set(r.root+"/data", []byte("1"), -1)
	must(err)
	r.create("/list/x", "")
	r.create("/born", "")
	line.mend()
	equal(next(data).Type, zk.EventNodeDataChanged)
	equal(next(list).Type, zk.EventNodeChildrenChanged)
	equal(next(born).Type, zk.EventNodeCreated)
	want(len(quietly) == 0, "an event for what did not change")
	equal(client.SessionID(), session)
	_, stat, err := r.client.Exists(r.root + "/owned")
	must(err)
	equal(stat.EphemeralOwner, session)
	_, err = r.client.Set(r.root+"/quiet", []byte("1"), -1)
	must(err)
	equal(next(quietly).Type, zk.EventNodeDataChanged)
}

func longCut(r *room) {
	line := &cuttable{}
	client, events := dial(line.dial)
	r.clients = append(r.clients, client)
	session := client.SessionID()
	_, err := client.Create(r.root+"/owned", nil, zk.FlagEphemeral, open)
	must(err)
	line.cut()
	cut := time.Now()
	until("the ephemeral is gone", patience, func() bool { return r.gone("/owned") })
	want(time.Since(cut) > sessionTimeout/2, "expired after %v", time.Since(cut))
	line.mend()
	for next(events).State != zk.StateExpired {
	}
	until("a new session", patience, func() bool { return client.State() == zk.StateHasSession })
	want(client.SessionID() != session, "an expired session came back")
	_, err = client.Create(r.root+"/owned", nil, zk.FlagEphemeral, open)
	must(err)
}

func closed(r *room) {
	client := connect()
	for _, name := range []string{"/e1", "/e2"} {
		_, err := client.Create(r.root+name, nil, zk.FlagEphemeral, open)
		must(err)
	}
	_, _, events, err := r.client.ExistsW(r.root + "/e1")
	must(err)
	client.Close()
	equal(next(events).Type, zk.EventNodeDeleted)
	want(r.gone("/e1") && r.gone("/e2"), "a closed session left nodes")
}

// Only ruok: what go-zookeeper expects of srvr and cons, no server since 3.6 answers.
func words(*room) {
	servers := []string{os.Getenv("ZK_CONNECT")}
	equal(zk.FLWRuok(servers, 5*time.Second), []bool{true})
}

func remove(client *zk.Conn, path string) {
	children, _, err := client.Children(path)
	if err != nil {
		return
	}
	for _, child := range children {
		remove(client, path+"/"+child)
	}
	client.Delete(path, -1)
}

func runOne(base, name string, check func(*room)) (failure string) {
	r := &room{root: base + "/" + name}
	defer func() {
		if panicked := recover(); panicked != nil {
			failure = fmt.Sprintf("%v\n%s", panicked, debug.Stack())
		}
		for _, w := range r.workers {
			if w.cmd.ProcessState == nil {
				w.cmd.Process.Kill()
				w.cmd.Wait()
			}
		}
		for _, client := range r.clients {
			client.Close()
		}
	}()
	r.client = r.another()
	_, err := r.client.Create(r.root, nil, 0, open)
	must(err)
	check(r)
	return ""
}

func main() {
	if len(os.Args) == 5 && os.Args[1] == "worker" {
		work(os.Args[2], os.Args[3], os.Args[4])
		return
	}
	chosen := map[string]bool{}
	for _, name := range os.Args[1:] {
		chosen[name] = true
	}
	random := make([]byte, 6)
	_, err := rand.Read(random)
	must(err)
	base := fmt.Sprintf("/compat-go-%x", random)
	client := connect()
	_, err = client.Create(base, nil, 0, open)
	must(err)
	slots := make(chan struct{}, atOnce)
	var wait sync.WaitGroup
	var report sync.Mutex
	passed, failed := 0, 0
	for _, check := range checks {
		if len(chosen) > 0 && !chosen[check.name] {
			continue
		}
		check := check
		wait.Add(1)
		slots <- struct{}{}
		go func() {
			defer wait.Done()
			defer func() { <-slots }()
			started := time.Now()
			failure := runOne(base, check.name, check.run)
			report.Lock()
			defer report.Unlock()
			if failure == "" {
				passed++
				fmt.Printf("ok   %s (%.1f s)\n", check.name, time.Since(started).Seconds())
			} else {
				failed++
				fmt.Printf("FAIL %s (%.1f s)\n%s\n", check.name, time.Since(started).Seconds(), failure)
			}
		}()
	}
	wait.Wait()
	remove(client, base)
	client.Close()
	fmt.Printf("%d passed, %d failed\n", passed, failed)
	if failed > 0 || passed == 0 {
		os.Exit(1)
	}
}
