// A gRPC client and server of grpc-go with descriptors passed by grpcfd: what upstream processes are made of.
// Messages are bytes; commands and results are JSON, one object a line.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/edwarnicke/grpcfd"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

type rawCodec struct{}

func (rawCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (rawCodec) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}
func (rawCodec) Name() string { return "proto" }

var out sync.Mutex

func tell(v any) {
	out.Lock()
	defer out.Unlock()
	line, err := json.Marshal(v)
	must(err)
	fmt.Println(string(line))
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// tlsConfig proves both ends by chain alone: SPIFFE has no host names.
func tlsConfig(certFile, keyFile, rootsFile string) *tls.Config {
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	must(err)
	pem, err := os.ReadFile(rootsFile)
	must(err)
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		must(errors.New("no roots"))
	}
	verify := func(raw [][]byte, _ [][]*x509.Certificate) error {
		leaf, err := x509.ParseCertificate(raw[0])
		if err != nil {
			return err
		}
		_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		return err
	}
	return &tls.Config{
		Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12,
		InsecureSkipVerify: true, ClientAuth: tls.RequireAnyClientCert, VerifyPeerCertificate: verify,
	}
}

func main() {
	if len(os.Args) != 6 {
		must(errors.New("usage: client|server <address> <certificate> <key> <roots>"))
	}
	creds := grpcfd.TransportCredentials(credentials.NewTLS(tlsConfig(os.Args[3], os.Args[4], os.Args[5])))
	if os.Args[1] == "client" {
		client(os.Args[2], creds)
	} else {
		server(os.Args[2], creds)
	}
}

type command struct {
	Method    string            `json:"method"`
	Message   []byte            `json:"message"`
	Metadata  map[string]string `json:"metadata"`
	Send      string            `json:"send"`
	Recv      bool              `json:"recv"`
	Stream    int               `json:"stream"`
	TimeoutMs int               `json:"timeoutMs"`
}

type result struct {
	Code    codes.Code        `json:"code"`
	Text    string            `json:"text"`
	Header  map[string]string `json:"header"`
	Replies [][]byte          `json:"replies"`
	Got     string            `json:"got,omitempty"`
}

func client(target string, creds credentials.TransportCredentials) {
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(creds), grpc.WithDefaultCallOptions(grpc.ForceCodec(rawCodec{})))
	must(err)
	defer conn.Close()
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var one command
		must(json.Unmarshal(lines.Bytes(), &one))
		tell(call(conn, &one))
	}
}

func call(conn *grpc.ClientConn, one *command) *result {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(one.TimeoutMs)*time.Millisecond)
	defer cancel()
	ctx = metadata.NewOutgoingContext(ctx, metadata.New(one.Metadata))
	rpcCreds := grpcfd.PerRPCCredentials(nil)
	transceiver, _ := grpcfd.FromPerRPCCredentials(rpcCreds)
	if one.Send != "" {
		transceiver.SendFilename(one.Send)
	}
	var header metadata.MD
	opts := []grpc.CallOption{grpc.Header(&header), grpc.PerRPCCredentials(rpcCreds)}
	replies, err := exchange(ctx, conn, one, opts)
	res := &result{Code: status.Code(err), Text: status.Convert(err).Message(), Header: map[string]string{}, Replies: replies}
	for key, values := range header {
		res.Header[key] = strings.Join(values, "|")
	}
	if one.Recv && err == nil {
		res.Got = receive(ctx, transceiver, string(replies[0][inodeAt(replies[0]):]))
	}
	return res
}

func exchange(ctx context.Context, conn *grpc.ClientConn, one *command, opts []grpc.CallOption) ([][]byte, error) {
	if one.Stream == 0 {
		var reply []byte
		if err := conn.Invoke(ctx, one.Method, &one.Message, &reply, opts...); err != nil {
			return nil, err
		}
		return [][]byte{reply}, nil
	}
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, one.Method, opts...)
	if err != nil {
		return nil, err
	}
	if err = stream.SendMsg(&one.Message); err != nil {
		return nil, err
	}
	if err = stream.CloseSend(); err != nil {
		return nil, err
	}
	var replies [][]byte
	for len(replies) < one.Stream {
		var reply []byte
		if err = stream.RecvMsg(&reply); err == io.EOF {
			return replies, nil
		} else if err != nil {
			return replies, err
		}
		replies = append(replies, reply)
	}
	return replies, nil
}

// inodeAt finds the URL inside of an encoded message; it is the last text there.
func inodeAt(message []byte) int { return strings.LastIndex(string(message), "inode://") }

func receive(ctx context.Context, transceiver grpcfd.FDTransceiver, url string) string {
	files, err := transceiver.RecvFileByURL(url)
	if err != nil {
		return err.Error()
	}
	select {
	case file := <-files:
		defer file.Close()
		info, err := file.Stat()
		if err != nil {
			return err.Error()
		}
		stat := info.Sys().(*syscall.Stat_t)
		return fmt.Sprintf("inode://%d/%d", stat.Dev, stat.Ino)
	case <-ctx.Done():
		return "timeout"
	}
}

func server(address string, creds credentials.TransportCredentials) {
	network, path := "tcp", address
	if rest, ok := strings.CutPrefix(address, "unix://"); ok {
		network, path = "unix", rest
	}
	listener, err := net.Listen(network, path)
	must(err)
	srv := grpc.NewServer(grpc.Creds(creds), grpc.ForceServerCodec(rawCodec{}), grpc.UnknownServiceHandler(answer))
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		srv.Stop()
	}()
	tell(map[string]string{"address": listener.Addr().String()})
	must(srv.Serve(listener))
}

func first(md metadata.MD, key string) string { return strings.Join(md.Get(key), "|") }

// answer echoes; metadata says what else to do.
func answer(_ any, stream grpc.ServerStream) error {
	ctx := stream.Context()
	method, _ := grpc.MethodFromServerStream(stream)
	md, _ := metadata.FromIncomingContext(ctx)
	var message []byte
	if err := stream.RecvMsg(&message); err != nil {
		return err
	}
	if text := first(md, "fail"); text != "" {
		return status.Error(codes.PermissionDenied, text+" 100 % ü")
	}
	transceiver, _ := grpcfd.FromContext(ctx)
	header := metadata.Pairs("path", first(md, "path")+"+1", "method", method,
		"token", first(md, "nsm-client-token"), "expires", first(md, "nsm-client-token-expires"))
	if at := inodeAt(message); at >= 0 && transceiver != nil {
		header.Append("got", receive(ctx, transceiver, string(message[at:])))
	}
	if path := first(md, "send"); path != "" {
		transceiver.SendFilename(path)
	}
	if err := stream.SetHeader(header); err != nil {
		return err
	}
	if !strings.HasSuffix(method, "/MonitorConnections") {
		return stream.SendMsg(&message)
	}
	for range 3 {
		if err := stream.SendMsg(&[]byte{}); err != nil {
			return err
		}
	}
	<-ctx.Done()
	tell(map[string]bool{"cancelled": true})
	return ctx.Err()
}
