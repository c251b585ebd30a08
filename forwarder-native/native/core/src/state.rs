//! Reading a namespace.

use crate::decode::{self, AddressInfo, LinkInfo, Names, NeighbourInfo, RouteInfo, RuleInfo};
use crate::message::Message;
use crate::netns::Netns;
use crate::rtnetlink::Socket;
use crate::Outcome;

/// What to read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Parts {
    pub links: bool,
    pub addresses: bool,
    pub routes: bool,
    pub rules: bool,
    pub neighbours: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    pub links: Vec<LinkInfo>,
    pub addresses: Vec<AddressInfo>,
    pub routes: Vec<RouteInfo>,
    pub rules: Vec<RuleInfo>,
    pub neighbours: Vec<NeighbourInfo>,
}

pub fn read(netns: &Netns, parts: Parts) -> Outcome<State> {
    let socket = Socket::open_in(netns)?;
    let mut state = State::default();
    let mut names = Names::new();
    if parts.links || parts.addresses || parts.routes || parts.neighbours {
        let links: Vec<LinkInfo> = dump(&socket, libc::RTM_GETLINK, "RTM_GETLINK", 0, 16)?
            .iter()
            .filter_map(|payload| decode::link(payload))
            .collect();
        names.extend(links.iter().map(|link| (link.index, link.name.clone())));
        state.links = if parts.links { links } else { Vec::new() };
    }
    if parts.addresses {
        let found = dump(&socket, libc::RTM_GETADDR, "RTM_GETADDR", 0, 8)?;
        state.addresses = found.iter().filter_map(|payload| decode::address(payload, &names)).collect();
    }
    for family in [libc::AF_INET, libc::AF_INET6] {
        if parts.routes {
            let found = dump(&socket, libc::RTM_GETROUTE, "RTM_GETROUTE", family, 12)?;
            state.routes.extend(found.iter().filter_map(|payload| decode::route(payload, &names)));
        }
        if parts.rules {
            let found = dump(&socket, libc::RTM_GETRULE, "RTM_GETRULE", family, 12)?;
            state.rules.extend(found.iter().filter_map(|payload| decode::rule(payload)));
        }
    }
    if parts.neighbours {
        let found = dump(&socket, libc::RTM_GETNEIGH, "RTM_GETNEIGH", 0, 12)?;
        state.neighbours = found.iter().filter_map(|payload| decode::neighbour(payload, &names)).collect();
    }
    Ok(state)
}

fn dump(socket: &Socket, kind: u16, name: &'static str, family: i32, body: usize) -> Outcome<Vec<Vec<u8>>> {
    let request = || {
        let mut bytes = vec![0; body];
        bytes[0] = family as u8;
        Message::new(kind, libc::NLM_F_DUMP).body(&bytes)
    };
    socket.dump(request, name)
}
