//! Measures what a path between two network namespaces costs, on one core: a single thread owns both sockets,
//! so that neither scheduler nor wake-ups are part of the figure. Prints one JSON object.
//!
//! `nsm-pathcost MODE NETNS_A ADDRESS_A NETNS_B ADDRESS_B MILLISECONDS`
//! MODE is `tcp` (bulk), `tcp-rr` or `udp-rr` (64 bytes there and back); NETNS are paths of namespaces.

use std::ffi::CString;
use std::io::{Error, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

const CHUNK: usize = 256 * 1024;
const MESSAGE: usize = 64;

fn main() {
    if let Err(error) = run() {
        eprintln!("nsm-pathcost: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [mode, netns_a, address_a, netns_b, address_b, duration] = args.as_slice() else {
        return Err("usage: nsm-pathcost tcp|tcp-rr|udp-rr NETNS_A ADDRESS_A NETNS_B ADDRESS_B MILLISECONDS".into());
    };
    let duration = Duration::from_millis(duration.parse()?);
    let (a, b): (IpAddr, IpAddr) = (address_a.parse()?, address_b.parse()?);
    pin_to_one_core()?;
    let (operations, bytes, cpu, wall) = match mode.as_str() {
        "tcp" => bulk(tcp_pair((netns_a, a), (netns_b, b))?, duration)?,
        "tcp-rr" => round_trips(tcp_pair((netns_a, a), (netns_b, b))?, duration)?,
        "udp-rr" => datagrams((netns_a, a), (netns_b, b), duration)?,
        other => return Err(format!("mode {other}: tcp, tcp-rr or udp-rr expected").into()),
    };
    println!(
        "{{\"mode\":\"{mode}\",\"operations\":{operations},\"bytes\":{bytes},\"cpuNs\":{},\"wallNs\":{}}}",
        cpu.as_nanos(),
        wall.as_nanos()
    );
    Ok(())
}

type Outcome = Result<(u64, u64, Duration, Duration), Box<dyn std::error::Error>>;

fn bulk((mut sender, mut receiver): (TcpStream, TcpStream), duration: Duration) -> Outcome {
    sender.set_nonblocking(true)?;
    receiver.set_nonblocking(true)?;
    let out = vec![0_u8; CHUNK];
    let mut inbox = vec![0_u8; CHUNK];
    let (mut bytes, mut operations) = (0_u64, 0_u64);
    let (begin, cpu) = (Instant::now(), thread_cpu());
    while begin.elapsed() < duration {
        match sender.write(&out) {
            Ok(_) => operations += 1,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        loop {
            match receiver.read(&mut inbox) {
                Ok(0) => return Err("the sender closed".into()),
                Ok(count) => bytes += count as u64,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok((operations, bytes, thread_cpu() - cpu, begin.elapsed()))
}

fn round_trips((mut near, mut far): (TcpStream, TcpStream), duration: Duration) -> Outcome {
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let mut message = [0_u8; MESSAGE];
    let mut operations = 0_u64;
    let (begin, cpu) = (Instant::now(), thread_cpu());
    while begin.elapsed() < duration {
        near.write_all(&message)?;
        far.read_exact(&mut message)?;
        far.write_all(&message)?;
        near.read_exact(&mut message)?;
        operations += 1;
    }
    Ok((operations, operations * 2 * MESSAGE as u64, thread_cpu() - cpu, begin.elapsed()))
}

fn datagrams(near: (&str, IpAddr), far: (&str, IpAddr), duration: Duration) -> Outcome {
    let near = inside(near.0, || UdpSocket::bind((near.1, 0)))?;
    let far = inside(far.0, || UdpSocket::bind((far.1, 0)))?;
    near.connect(far.local_addr()?)?;
    far.connect(near.local_addr()?)?;
    for socket in [&near, &far] {
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    }
    let mut message = [0_u8; MESSAGE];
    let mut operations = 0_u64;
    let (begin, cpu) = (Instant::now(), thread_cpu());
    while begin.elapsed() < duration {
        near.send(&message)?;
        far.recv(&mut message)?;
        far.send(&message)?;
        near.recv(&mut message)?;
        operations += 1;
    }
    Ok((operations, operations * 2 * MESSAGE as u64, thread_cpu() - cpu, begin.elapsed()))
}

fn tcp_pair(near: (&str, IpAddr), far: (&str, IpAddr)) -> Result<(TcpStream, TcpStream), Error> {
    let listener = inside(far.0, || TcpListener::bind((far.1, 0)))?;
    let target: SocketAddr = listener.local_addr()?;
    let near = inside(near.0, || TcpStream::connect_timeout(&target, Duration::from_secs(5)))?;
    let (far, _) = listener.accept()?;
    for socket in [&near, &far] {
        use_reno(socket)?;
    }
    Ok((near, far))
}

/// The machine's default may be bbr, which paces: figures of it say nothing about the path.
fn use_reno(socket: &TcpStream) -> Result<(), Error> {
    let name = b"reno";
    // SAFETY: the name outlives the call and its length is its own.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_CONGESTION,
            name.as_ptr().cast(),
            name.len() as libc::socklen_t,
        )
    };
    check(done)
}

/// Runs `make` inside a namespace and comes back; the process has one thread, so nothing else sees it.
fn inside<T>(netns: &str, make: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let home = std::fs::File::open("/proc/self/ns/net")?;
    let there = std::fs::File::open(CString::new(netns)?.to_str().map_err(Error::other)?)?;
    // SAFETY: both descriptors are open namespaces.
    check(unsafe { libc::setns(there.as_raw_fd(), libc::CLONE_NEWNET) })?;
    let made = make();
    // SAFETY: as above.
    check(unsafe { libc::setns(home.as_raw_fd(), libc::CLONE_NEWNET) })?;
    made
}

fn pin_to_one_core() -> Result<(), Error> {
    // SAFETY: a zeroed cpu_set_t is an empty set; the size given is its own.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(usize::try_from(libc::sched_getcpu()).unwrap_or(0), &mut set);
        check(libc::sched_setaffinity(0, std::mem::size_of::<libc::cpu_set_t>(), &set))
    }
}

fn thread_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists on every Linux and `time` is ours.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn check(result: libc::c_int) -> Result<(), Error> {
    if result < 0 {
        return Err(Error::last_os_error());
    }
    Ok(())
}
