//! What a forwarder does inside namespaces: veth pairs, and batches of changes. Everything here blocks for well under a millisecond.

use crate::encode::{self, Link, Neighbour, Route, Rule, Verb, VethEnd};
use crate::netns::Netns;
use crate::rtnetlink::{Request, Socket};
use crate::sysctl::{self, Sysctl};
use crate::{Failure, Outcome};
use std::collections::HashMap;

/// Changes that one call may make.
pub const CHANGES: usize = 65_536;

#[derive(Debug, Clone)]
pub enum Change {
    Link(Link),
    Address { dev: String, prefix: String, verb: Verb },
    Route(Route, Verb),
    Rule(Rule, Verb),
    Neighbour(Neighbour, Verb),
    Sysctl(Sysctl),
}

/// Name and hardware address of one end.
#[derive(Debug, Clone)]
pub struct EndName {
    pub name: String,
    pub mac: Option<String>,
}

/// Makes a veth pair straight into two namespaces by one message sent from within the first.
pub fn create_veth(a: (&Netns, &EndName), b: (&Netns, &EndName), mtu: u32, group: u32) -> Outcome<()> {
    let end = |(netns, end): (&Netns, &EndName)| (netns.raw(), end.name.clone(), end.mac.clone());
    let ((a_netns, a_name, a_mac), (b_netns, b_name, b_mac)) = (end(a), end(b));
    let request = encode::veth(
        &VethEnd { netns: a_netns, name: &a_name, mac: a_mac.as_deref() },
        &VethEnd { netns: b_netns, name: &b_name, mac: b_mac.as_deref() },
        mtu,
        group,
    )?;
    // Names are looked up in the socket's own namespace, so it must be the one that the first end goes to.
    Socket::open_in(a.0)?.transact(vec![request])
}

/// Makes a bridge, down and without ports.
pub fn create_bridge(netns: &Netns, name: &str) -> Outcome<()> {
    let request = encode::bridge(name)?;
    Socket::open_in(netns)?.transact(vec![request])
}

/// One end of a new pair, and what its namespace gets with it.
pub struct NewEnd<'a> {
    pub netns: &'a Netns,
    pub name: &'a EndName,
    pub changes: &'a [Change],
}

/// Makes a pair and then the changes on both sides; when one of them fails the pair is deleted again.
pub fn wire(a: &NewEnd<'_>, b: &NewEnd<'_>, mtu: u32, group: u32) -> Outcome<()> {
    create_veth((a.netns, a.name), (b.netns, b.name), mtu, group)?;
    let made =
        [a, b].iter().filter(|end| !end.changes.is_empty()).try_for_each(|end| apply(end.netns, end.changes));
    if made.is_err() {
        let socket = Socket::open_in(a.netns)?;
        socket.transact(vec![encode::delete_link(socket.index_of(&a.name.name)?, &a.name.name)])?;
    }
    made
}

/// Makes all changes in order; collects every failure. Runs of netlink changes go out in one sendmsg.
pub fn apply(netns: &Netns, changes: &[Change]) -> Outcome<()> {
    if changes.len() > CHANGES {
        let detail = format!("{} changes, {CHANGES} is the most", changes.len());
        return Err(Failure::new(libc::E2BIG, "apply", "changes").with_detail(detail));
    }
    let failures = netns.inside(|| apply_here(changes))??;
    Failure::of_batch(failures).map_or(Ok(()), Err)
}

fn apply_here(changes: &[Change]) -> Outcome<Vec<(usize, Failure)>> {
    let mut batch =
        Batch { socket: Socket::open()?, indexes: HashMap::new(), waiting: Vec::new(), failures: Vec::new() };
    for (position, change) in changes.iter().enumerate() {
        if let Change::Sysctl(wanted) = change {
            batch.flush()?;
            if let Err(failure) = sysctl::write(wanted) {
                batch.failures.push((position, failure));
            }
            continue;
        }
        match batch.request(change) {
            Ok(request) => batch.waiting.push(Request { position, ..request }),
            Err(failure) => batch.failures.push((position, failure)),
        }
    }
    batch.flush()?;
    batch.failures.sort_by_key(|(position, _)| *position);
    Ok(batch.failures)
}

struct Batch {
    socket: Socket,
    indexes: HashMap<String, u32>,
    waiting: Vec<Request>,
    failures: Vec<(usize, Failure)>,
}

impl Batch {
    fn flush(&mut self) -> Outcome<()> {
        match self.socket.transact(std::mem::take(&mut self.waiting)) {
            Err(whole) if !whole.failures.is_empty() => self.failures.extend(whole.failures),
            Err(broken) => return Err(broken),
            Ok(()) => {}
        }
        Ok(())
    }

    fn index(&mut self, name: &str) -> Outcome<u32> {
        if let Some(index) = self.indexes.get(name) {
            return Ok(*index);
        }
        let index = self.socket.index_of(name)?;
        self.indexes.insert(name.into(), index);
        Ok(index)
    }

    fn request(&mut self, change: &Change) -> Outcome<Request> {
        match change {
            Change::Link(link) => {
                let master = link.master.as_deref().map(|name| self.index(name)).transpose()?;
                encode::link(self.index(&link.name)?, master, link)
            }
            Change::Address { dev, prefix, verb } => encode::address(self.index(dev)?, dev, prefix, *verb),
            Change::Route(route, verb) => encode::route(self.index(&route.dev)?, route, *verb),
            Change::Rule(rule, verb) => encode::rule(rule, *verb),
            Change::Neighbour(neighbour, verb) => {
                encode::neighbour(self.index(&neighbour.dev)?, neighbour, *verb)
            }
            Change::Sysctl(wanted) => {
                Err(Failure::invalid("apply", wanted.name.clone(), "is no netlink change"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns;
    use std::os::fd::AsRawFd;

    fn named(name: &str) -> EndName {
        EndName { name: name.into(), mac: None }
    }

    #[test]
    fn a_pair_that_cannot_be_finished_is_deleted_again() {
        let held = netns::create().unwrap();
        let netns = Netns::acquire(held.as_raw_fd()).unwrap();
        let good = [Change::Link(Link { name: "a".into(), up: Some(true), ..Link::default() })];
        let bad = [Change::Address { dev: "b".into(), prefix: "junk".into(), verb: Verb::Set }];
        let (a, b) = (named("a"), named("b"));
        let end = |name, changes| NewEnd { netns: &netns, name, changes };
        assert_eq!(wire(&end(&a, &good), &end(&b, &bad), 1500, 1).unwrap_err().object, "junk");
        let socket = Socket::open_in(&netns).unwrap();
        assert!(socket.index_of("a").is_err() && socket.index_of("b").is_err());
        wire(&end(&a, &good), &end(&b, &[]), 1500, 1).unwrap();
        assert!(socket.index_of("a").is_ok() && socket.index_of("b").is_ok());
    }

    #[test]
    fn a_batch_tells_all_its_failures_and_does_the_rest() {
        let held = netns::create().unwrap();
        let netns = Netns::acquire(held.as_raw_fd()).unwrap();
        create_veth((&netns, &named("a")), (&netns, &named("b")), 1400, 5).unwrap();
        let address = |dev: &str, prefix: &str| Change::Address {
            dev: dev.into(),
            prefix: prefix.into(),
            verb: Verb::Set,
        };
        let failure = apply(
            &netns,
            &[
                address("none", "10.0.0.1/24"),
                address("a", "10.0.0.1/24"),
                Change::Sysctl(Sysctl {
                    name: "net.ipv4.no_such".into(),
                    value: "1".into(),
                    if_present: false,
                }),
                address("b", "junk"),
                Change::Link(Link { name: "a".into(), up: Some(true), ..Link::default() }),
                Change::Link(Link { name: "b".into(), mtu: Some(1), ..Link::default() }),
            ],
        )
        .unwrap_err();
        let all: Vec<_> = failure.failures.iter().map(|(at, f)| (*at, f.errno)).collect();
        assert_eq!(all, [(0, libc::ENODEV), (2, libc::ENOENT), (3, libc::EINVAL), (5, libc::EINVAL)]);
        assert_eq!(failure.errno, libc::ENODEV);
        let again = create_veth((&netns, &named("c")), (&netns, &named("b")), 1400, 5).unwrap_err();
        assert_eq!((again.errno, again.object.as_str()), (libc::EEXIST, "c and b"));
        let index = netns.inside(|| Socket::open().unwrap().index_of("c")).unwrap();
        assert_eq!(index.unwrap_err().errno, libc::ENODEV);
    }
}
