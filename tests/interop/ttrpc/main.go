// SPDX-License-Identifier: Apache-2.0

// Go's ttrpc library as the peer of ours (tests/tools/ttrpc-echo.c):
//
//	ttrpc-go serve SOCKET   serves test.Echo until its standard input ends
//	ttrpc-go check SOCKET   calls the peer's test.Echo in every way; prints what was right
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const service = "test.Echo"

type text = wrapperspb.StringValue

// ---- the server

func echo(_ context.Context, decode func(interface{}) error) (interface{}, error) {
	var request text
	if err := decode(&request); err != nil {
		return nil, err
	}
	return &request, nil
}

func refuse(_ context.Context, decode func(interface{}) error) (interface{}, error) {
	var request text
	if err := decode(&request); err != nil {
		return nil, err
	}
	return nil, status.Errorf(codes.NotFound, "%s not found", request.Value)
}

func hold(ctx context.Context, decode func(interface{}) error) (interface{}, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func chat(_ context.Context, stream ttrpc.StreamServer) (interface{}, error) {
	for {
		var message text
		err := stream.RecvMsg(&message)
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		if err == nil {
			err = stream.SendMsg(&message)
		}
		if err != nil {
			return nil, err
		}
	}
}

func pour(_ context.Context, stream ttrpc.StreamServer) (interface{}, error) {
	var request text
	if err := stream.RecvMsg(&request); err != nil {
		return nil, err
	}
	count, err := strconv.Atoi(request.Value)
	for i := 0; i < count && err == nil; i++ {
		err = stream.SendMsg(&text{Value: strconv.Itoa(i)})
	}
	return nil, err
}

func join(_ context.Context, stream ttrpc.StreamServer) (interface{}, error) {
	var all strings.Builder
	for {
		var message text
		err := stream.RecvMsg(&message)
		if errors.Is(err, io.EOF) {
			return &text{Value: all.String()}, nil
		}
		if err != nil {
			return nil, err
		}
		all.WriteString(message.Value)
	}
}

func serve(path string) error {
	server, err := ttrpc.NewServer()
	if err != nil {
		return err
	}
	server.RegisterService(service, &ttrpc.ServiceDesc{
		Methods: map[string]ttrpc.Method{"Echo": echo, "Refuse": refuse, "Hold": hold},
		Streams: map[string]ttrpc.Stream{
			"Chat": {Handler: chat, StreamingClient: true, StreamingServer: true},
			"Pour": {Handler: pour, StreamingServer: true},
			"Join": {Handler: join, StreamingClient: true},
		},
	})
	listener, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	go func() {
		io.Copy(io.Discard, os.Stdin)
		server.Close()
	}()
	if err := server.Serve(context.Background(), listener); !errors.Is(err, ttrpc.ErrServerClosed) {
		return err
	}
	return nil
}

// ---- the client

func soon() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 30*time.Second)
}

func expect(client *ttrpc.Client, value string) error {
	ctx, cancel := soon()
	defer cancel()
	var reply text
	if err := client.Call(ctx, service, "Echo", &text{Value: value}, &reply); err != nil {
		return err
	}
	if reply.Value != value {
		return errors.New("another text came back")
	}
	return nil
}

func checkEcho(client *ttrpc.Client) error {
	return errors.Join(expect(client, "hello"), expect(client, ""))
}

func checkLargest(client *ttrpc.Client) error {
	return expect(client, strings.Repeat("x", 4<<20-100))
}

func checkStatuses(client *ttrpc.Client) error {
	cases := []struct{ service, method, want string }{
		{service, "Refuse", "rpc error: code = NotFound desc = this not found"},
		{service, "None", "rpc error: code = Unimplemented desc = method None"},
		{"test.None", "Echo", "rpc error: code = Unimplemented desc = service test.None"},
	}
	for _, c := range cases {
		ctx, cancel := soon()
		err := client.Call(ctx, c.service, c.method, &text{Value: "this"}, &text{})
		cancel()
		if err == nil || err.Error() != c.want {
			return fmt.Errorf("%s: got %v", c.method, err)
		}
	}
	return nil
}

func checkTimeout(client *ttrpc.Client) error {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	err := client.Call(ctx, service, "Hold", &text{}, &text{})
	if !errors.Is(err, context.DeadlineExceeded) && status.Code(err) != codes.DeadlineExceeded {
		return fmt.Errorf("got %v", err)
	}
	return checkEcho(client)
}

func checkParallel(client *ttrpc.Client) error {
	var group sync.WaitGroup
	results := make(chan error, 100)
	holding, release := context.WithCancel(context.Background())
	defer release()
	for i := 0; i < 50; i++ {
		go client.Call(holding, service, "Hold", &text{}, &text{})
	}
	for i := 0; i < cap(results); i++ {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			var err error
			for j := 0; j < 20 && err == nil; j++ {
				err = expect(client, fmt.Sprintf("%d of %d", j, i))
			}
			results <- err
		}(i)
	}
	group.Wait()
	close(results)
	for err := range results {
		if err != nil {
			return err
		}
	}
	return nil
}

func expectMessage(stream ttrpc.ClientStream, want string) error {
	var message text
	if err := stream.RecvMsg(&message); err != nil {
		return fmt.Errorf("instead of %q: %w", want, err)
	}
	if message.Value != want {
		return fmt.Errorf("%q came instead of %q", message.Value, want)
	}
	return nil
}

func expectEnd(stream ttrpc.ClientStream) error {
	if err := stream.RecvMsg(&text{}); !errors.Is(err, io.EOF) {
		return fmt.Errorf("instead of the end: %v", err)
	}
	return nil
}

func checkChat(client *ttrpc.Client) error {
	ctx, cancel := soon()
	defer cancel()
	stream, err := client.NewStream(ctx, &ttrpc.StreamDesc{StreamingClient: true, StreamingServer: true}, service, "Chat", nil)
	if err != nil {
		return err
	}
	for i := 0; i < 100; i++ {
		value := strconv.Itoa(i)
		if i == 0 {
			value = ""
		}
		if err := stream.SendMsg(&text{Value: value}); err != nil {
			return err
		}
		if err := expectMessage(stream, value); err != nil {
			return err
		}
	}
	return errors.Join(stream.CloseSend(), expectEnd(stream))
}

func checkPour(client *ttrpc.Client) error {
	ctx, cancel := soon()
	defer cancel()
	stream, err := client.NewStream(ctx, &ttrpc.StreamDesc{StreamingServer: true}, service, "Pour", &text{Value: "1000"})
	if err != nil {
		return err
	}
	for i := 0; i < 1000; i++ {
		if err := expectMessage(stream, strconv.Itoa(i)); err != nil {
			return err
		}
	}
	return expectEnd(stream)
}

func checkJoin(client *ttrpc.Client) error {
	ctx, cancel := soon()
	defer cancel()
	stream, err := client.NewStream(ctx, &ttrpc.StreamDesc{StreamingClient: true}, service, "Join", nil)
	if err != nil {
		return err
	}
	for _, value := range []string{"one ", "two"} {
		if err := stream.SendMsg(&text{Value: value}); err != nil {
			return err
		}
	}
	return errors.Join(stream.CloseSend(), expectMessage(stream, "one two"), expectEnd(stream))
}

func check(path string) error {
	connection, err := net.Dial("unix", path)
	if err != nil {
		return err
	}
	client := ttrpc.NewClient(connection)
	defer client.Close()
	checks := []struct {
		name  string
		check func(*ttrpc.Client) error
	}{
		{"echo", checkEcho},
		{"largest", checkLargest},
		{"statuses", checkStatuses},
		{"timeout", checkTimeout},
		{"parallel", checkParallel},
		{"chat", checkChat},
		{"pour", checkPour},
		{"join", checkJoin},
	}
	for _, c := range checks {
		if err := c.check(client); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		fmt.Println(c.name)
	}
	return nil
}

func main() {
	modes := map[string]func(string) error{"serve": serve, "check": check}
	if len(os.Args) != 3 || modes[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: ttrpc-go serve|check SOCKET")
		os.Exit(2)
	}
	if err := modes[os.Args[1]](os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "ttrpc-go:", err)
		os.Exit(1)
	}
}
