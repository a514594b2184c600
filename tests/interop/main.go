// SPDX-License-Identifier: Apache-2.0

// kata-client is Kata's own Go shim, driven by lines of JSON instead of by containerd.
//
// It links the shim's service (the code of containerd-shim-kata-v2) with everything below it: the remote
// hypervisor of virtcontainers, the agent client, the monitor, the copying of streams. What it is asked to do
// are the calls of containerd's task API.
//
// One request a line on standard input, {"n": 1, "call": "Create", ...}; one answer a line on standard output,
// {"n": 1, ...} or {"n": 1, "error": "..."}, in any order. Lines with "event" are what the shim publishes to
// containerd. The shim's log goes to standard error. The end of the input ends the program.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/containerd/containerd/api/events"
	task "github.com/containerd/containerd/api/runtime/task/v2"
	"github.com/containerd/containerd/api/types"
	cdevents "github.com/containerd/containerd/events"
	"github.com/containerd/containerd/namespaces"
	"github.com/containerd/containerd/protobuf"
	"github.com/containerd/containerd/runtime/v2/shim"
	"github.com/containerd/typeurl/v2"
	katashim "github.com/kata-containers/kata-containers/src/runtime/pkg/containerd-shim-v2"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

type request struct {
	N      int    `json:"n"`
	Call   string `json:"call"`
	ID     string `json:"id"`
	Exec   string `json:"exec"`
	Bundle string `json:"bundle"`
	Stdin  string `json:"stdin"`
	Stdout string `json:"stdout"`
	Stderr string `json:"stderr"`
	Signal uint32 `json:"signal"`
	All    bool   `json:"all"`
	// Create: the mount that a snapshotter gives as the root file system.
	Rootfs *types.Mount `json:"rootfs"`
	// Exec: what is to run.
	Process *specs.Process `json:"process"`
	// How long containerd would wait; 0: for ever.
	TimeoutMs int `json:"timeout_ms"`
}

func init() {
	// As containerd's client does: an OCI process is no protobuf message.
	typeurl.Register(&specs.Process{}, "types.containerd.io", "opencontainers/runtime-spec", "1", "Process")
}

var output = struct {
	sync.Mutex
	encoder *json.Encoder
}{encoder: json.NewEncoder(os.Stdout)}

func write(line map[string]any) {
	output.Lock()
	defer output.Unlock()
	if err := output.encoder.Encode(line); err != nil {
		os.Exit(1)
	}
}

// containerd stands for the other end of the shim's event connection.
type containerd struct{}

func (containerd) Publish(_ context.Context, topic string, event cdevents.Event) error {
	line := map[string]any{"event": topic}
	if exit, ok := event.(*events.TaskExit); ok {
		line["id"], line["exec"], line["status"] = exit.ContainerID, exit.ID, exit.ExitStatus
	}
	write(line)
	return nil
}

func (containerd) Close() error { return nil }

// answer turns a reply of the task API into what goes on a line.
func answer(reply proto.Message, err error) (map[string]any, error) {
	if err != nil {
		return nil, err
	}
	text, err := protojson.Marshal(reply)
	if err != nil {
		return nil, err
	}
	line := map[string]any{}
	return line, json.Unmarshal(text, &line)
}

// stats takes the metrics out of their envelope.
func stats(reply *task.StatsResponse, err error) (map[string]any, error) {
	if err != nil {
		return nil, err
	}
	metrics, err := typeurl.UnmarshalAny(reply.Stats)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(metrics)
	if err != nil {
		return nil, err
	}
	line := map[string]any{}
	return line, json.Unmarshal(text, &line)
}

func start(ctx context.Context, s shim.Shim, r *request) (map[string]any, error) {
	if r.Process != nil {
		spec, err := protobuf.MarshalAnyToProto(r.Process)
		if err != nil {
			return nil, err
		}
		_, err = s.Exec(ctx, &task.ExecProcessRequest{ID: r.ID, ExecID: r.Exec, Terminal: r.Process.Terminal,
			Stdin: r.Stdin, Stdout: r.Stdout, Stderr: r.Stderr, Spec: spec})
		if err != nil {
			return nil, err
		}
	}
	reply, err := s.Start(ctx, &task.StartRequest{ID: r.ID, ExecID: r.Exec})
	return answer(reply, err)
}

func call(ctx context.Context, s shim.Shim, r *request) (map[string]any, error) {
	switch r.Call {
	case "Create":
		create := &task.CreateTaskRequest{ID: r.ID, Bundle: r.Bundle, Stdin: r.Stdin, Stdout: r.Stdout, Stderr: r.Stderr}
		if r.Rootfs != nil {
			create.Rootfs = []*types.Mount{r.Rootfs}
		}
		reply, err := s.Create(ctx, create)
		return answer(reply, err)
	case "Start":
		return start(ctx, s, r)
	case "CloseIO":
		reply, err := s.CloseIO(ctx, &task.CloseIORequest{ID: r.ID, ExecID: r.Exec, Stdin: true})
		return answer(reply, err)
	case "Kill":
		reply, err := s.Kill(ctx, &task.KillRequest{ID: r.ID, ExecID: r.Exec, Signal: r.Signal, All: r.All})
		return answer(reply, err)
	case "Wait":
		reply, err := s.Wait(ctx, &task.WaitRequest{ID: r.ID, ExecID: r.Exec})
		return answer(reply, err)
	case "State":
		reply, err := s.State(ctx, &task.StateRequest{ID: r.ID, ExecID: r.Exec})
		return answer(reply, err)
	case "Stats":
		return stats(s.Stats(ctx, &task.StatsRequest{ID: r.ID}))
	case "Delete":
		reply, err := s.Delete(ctx, &task.DeleteRequest{ID: r.ID, ExecID: r.Exec})
		return answer(reply, err)
	}
	return nil, fmt.Errorf("unknown call %q", r.Call)
}

func serve(ctx context.Context, s shim.Shim, r request) {
	if r.TimeoutMs > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(r.TimeoutMs)*time.Millisecond)
		defer cancel()
	}
	line, err := call(ctx, s, &r)
	if err != nil {
		line = map[string]any{"error": err.Error()}
	} else if line == nil {
		line = map[string]any{}
	}
	line["n"] = r.N
	write(line)
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: kata-client SANDBOX-ID (KATA_CONF_FILE names the configuration)")
		os.Exit(2)
	}
	ctx := namespaces.WithNamespace(context.Background(), "k8s.io")
	ctx = context.WithValue(ctx, shim.OptsKey{}, shim.Opts{Debug: true})
	// With an address of containerd's the shim gives its events to its publisher, which is ours; without, to its log.
	os.Setenv("TTRPC_ADDRESS", "none")
	s, err := katashim.New(ctx, os.Args[1], containerd{}, func() {})
	if err != nil {
		fmt.Fprintln(os.Stderr, "kata-client:", err)
		os.Exit(1)
	}
	// The shim throws its log away until containerd has told it where to write.
	logrus.SetOutput(os.Stderr)
	logrus.SetLevel(logrus.DebugLevel)

	input := bufio.NewReader(os.Stdin)
	for {
		line, err := input.ReadBytes('\n')
		if err != nil {
			return
		}
		var r request
		if err := json.Unmarshal(line, &r); err != nil {
			write(map[string]any{"error": err.Error()})
			continue
		}
		go serve(ctx, s, r)
	}
}
