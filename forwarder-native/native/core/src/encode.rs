//! Requests to rtnetlink: from plain descriptions to messages.

use crate::fib_rule::{
    FRA_DPORT_RANGE, FRA_IP_PROTO, FRA_PRIORITY, FRA_SPORT_RANGE, FRA_SRC, FRA_TABLE, FR_ACT_TO_TBL,
    RTNH_F_ONLINK,
};
use crate::message::Message;
use crate::rtnetlink::Request;
use crate::{Failure, Outcome};
use std::net::IpAddr;

const VETH_INFO_PEER: u16 = 1;
const RTPROT_BOOT: u8 = 3;
const MAIN: u32 = 254;
/// Longest alias the kernel takes (IFALIASZ less its zero byte).
const ALIAS: usize = 255;

const REPLACE: i32 = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;

/// An address with a prefix length, host bits as given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    pub address: IpAddr,
    pub length: u8,
}

impl Prefix {
    pub fn parse(text: &str) -> Option<Prefix> {
        let (address, length) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let length: u8 = length.parse().ok()?;
        (length <= if address.is_ipv4() { 32 } else { 128 }).then_some(Prefix { address, length })
    }
}

#[derive(Debug, Clone, Default)]
pub struct Link {
    pub name: String,
    pub up: Option<bool>,
    pub mtu: Option<u32>,
    pub alias: Option<String>,
    pub mac: Option<String>,
    pub group: Option<u32>,
    /// Bridge that the link becomes a port of.
    pub master: Option<String>,
}

#[derive(Debug, Clone)]
pub struct Route {
    pub dev: String,
    pub prefix: String,
    pub gateway: Option<String>,
    pub is_link_scope: bool,
    pub onlink: bool,
    pub table: Option<u32>,
    pub source: Option<String>,
}

#[derive(Debug, Clone)]
pub struct Rule {
    pub is_ipv6: bool,
    pub table: u32,
    pub priority: Option<u32>,
    pub from: Option<String>,
    pub ip_proto: Option<u8>,
    pub dst_port: Option<(u16, u16)>,
    pub src_port: Option<(u16, u16)>,
}

#[derive(Debug, Clone)]
pub struct Neighbour {
    pub dev: String,
    pub ip: String,
    pub mac: String,
    pub is_permanent: bool,
}

/// One end of a veth pair, its namespace already checked and open.
pub struct VethEnd<'a> {
    pub netns: i32,
    pub name: &'a str,
    pub mac: Option<&'a str>,
}

/// Whether something is made so or taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Set,
    Delete,
}

fn request(message: Message, operation: &'static str, object: String) -> Request {
    Request { message, operation, object, position: 0, forgiven: &[] }
}

fn ifinfo(index: u32, flags: u32, change: u32) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend_from_slice(&index.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&change.to_ne_bytes());
    bytes
}

/// One RTM_NEWLINK that makes both ends, each in its namespace under its final name, still down.
pub fn veth(a: &VethEnd<'_>, b: &VethEnd<'_>, mtu: u32, group: u32) -> Outcome<Request> {
    let object = format!("{} and {}", a.name, b.name);
    let mut message =
        Message::new(libc::RTM_NEWLINK, libc::NLM_F_CREATE | libc::NLM_F_EXCL).body(&ifinfo(0, 0, 0));
    veth_end(&mut message, a, mtu, group)?;
    let info = message.nest(libc::IFLA_LINKINFO);
    message.text(libc::IFLA_INFO_KIND, "veth");
    let data = message.nest(libc::IFLA_INFO_DATA);
    let peer = message.nest(VETH_INFO_PEER);
    message.raw(&ifinfo(0, 0, 0));
    veth_end(&mut message, b, mtu, group)?;
    message.end(peer);
    message.end(data);
    message.end(info);
    Ok(request(message, "RTM_NEWLINK", object))
}

fn veth_end(message: &mut Message, end: &VethEnd<'_>, mtu: u32, group: u32) -> Outcome<()> {
    message.text(libc::IFLA_IFNAME, checked_text("RTM_NEWLINK", "name", end.name, ALIAS)?);
    message.u32(libc::IFLA_MTU, mtu);
    message.u32(libc::IFLA_GROUP, group);
    message.u32(libc::IFLA_NUM_TX_QUEUES, 1);
    message.u32(libc::IFLA_NUM_RX_QUEUES, 1);
    if let Some(mac) = end.mac {
        message.attribute(libc::IFLA_ADDRESS, &mac_bytes("RTM_NEWLINK", mac)?);
    }
    message.u32(libc::IFLA_NET_NS_FD, end.netns as u32);
    Ok(())
}

pub fn link_up(name: &str) -> Request {
    let mut message =
        Message::new(libc::RTM_NEWLINK, 0).body(&ifinfo(0, libc::IFF_UP as u32, libc::IFF_UP as u32));
    message.text(libc::IFLA_IFNAME, name);
    request(message, "RTM_NEWLINK", name.into())
}

/// A new bridge, still down.
pub fn bridge(name: &str) -> Outcome<Request> {
    let mut message =
        Message::new(libc::RTM_NEWLINK, libc::NLM_F_CREATE | libc::NLM_F_EXCL).body(&ifinfo(0, 0, 0));
    message.text(libc::IFLA_IFNAME, checked_text("RTM_NEWLINK", "name", name, ALIAS)?);
    let info = message.nest(libc::IFLA_LINKINFO);
    message.text(libc::IFLA_INFO_KIND, "bridge");
    message.end(info);
    Ok(request(message, "RTM_NEWLINK", name.into()))
}

/// A change of a link that is there; `master`: index of the one that the link names. By index: by name, older kernels take an absent link with a group for the whole group.
pub fn link(index: u32, master: Option<u32>, link: &Link) -> Outcome<Request> {
    let up = libc::IFF_UP as u32;
    let (flags, change) = link.up.map_or((0, 0), |wanted| (if wanted { up } else { 0 }, up));
    let mut message = Message::new(libc::RTM_NEWLINK, 0).body(&ifinfo(index, flags, change));
    if let Some(mac) = &link.mac {
        message.attribute(libc::IFLA_ADDRESS, &mac_bytes("RTM_NEWLINK", mac)?);
    }
    if let Some(mtu) = link.mtu {
        message.u32(libc::IFLA_MTU, mtu);
    }
    if let Some(group) = link.group {
        message.u32(libc::IFLA_GROUP, group);
    }
    if let Some(master) = master {
        message.u32(libc::IFLA_MASTER, master);
    }
    if let Some(alias) = &link.alias {
        let alias = checked_text("RTM_NEWLINK", "alias", alias, ALIAS)?;
        message.attribute(libc::IFLA_IFALIAS, alias.as_bytes());
    }
    Ok(request(message, "RTM_NEWLINK", link.name.clone()))
}

pub fn set_group(index: u32, name: &str, group: u32) -> Request {
    let mut message = Message::new(libc::RTM_SETLINK, 0).body(&ifinfo(index, 0, 0));
    message.u32(libc::IFLA_GROUP, group);
    Request { forgiven: &[libc::ENODEV], ..request(message, "RTM_SETLINK", name.into()) }
}

pub fn delete_link(index: u32, name: &str) -> Request {
    let message = Message::new(libc::RTM_DELLINK, 0).body(&ifinfo(index, 0, 0));
    Request { forgiven: &[libc::ENODEV], ..request(message, "RTM_DELLINK", name.into()) }
}

/// Deletes every link of a group in one go; the group must be one that nobody else uses.
pub fn delete_group(group: u32, object: String) -> Request {
    let mut message = Message::new(libc::RTM_DELLINK, 0).body(&ifinfo(0, 0, 0));
    message.u32(libc::IFLA_GROUP, group);
    Request { forgiven: &[libc::ENODEV], ..request(message, "RTM_DELLINK", object) }
}

pub fn address(index: u32, dev: &str, text: &str, verb: Verb) -> Outcome<Request> {
    let (kind, flags, operation) = match verb {
        Verb::Set => (libc::RTM_NEWADDR, REPLACE, "RTM_NEWADDR"),
        Verb::Delete => (libc::RTM_DELADDR, 0, "RTM_DELADDR"),
    };
    let prefix = checked_prefix(operation, text)?;
    let family = family_of(prefix.address);
    // No duplicate address detection: the address came from an IPAM, and waiting for it costs a second.
    let no_dad = if prefix.address.is_ipv6() { libc::IFA_F_NODAD as u8 } else { 0 };
    let mut body = vec![family, prefix.length, no_dad, 0];
    body.extend_from_slice(&index.to_ne_bytes());
    let mut message = Message::new(kind, flags).body(&body);
    message.attribute(libc::IFA_LOCAL, &octets(prefix.address));
    message.attribute(libc::IFA_ADDRESS, &octets(prefix.address));
    Ok(with_verb(request(message, operation, format!("{text} dev {dev}")), verb))
}

pub fn route(index: u32, route: &Route, verb: Verb) -> Outcome<Request> {
    let (kind, flags, operation) = match verb {
        Verb::Set => (libc::RTM_NEWROUTE, REPLACE, "RTM_NEWROUTE"),
        Verb::Delete => (libc::RTM_DELROUTE, 0, "RTM_DELROUTE"),
    };
    let prefix = checked_prefix(operation, &route.prefix)?;
    let table = route.table.unwrap_or(MAIN);
    let scope = if route.is_link_scope { libc::RT_SCOPE_LINK } else { libc::RT_SCOPE_UNIVERSE };
    let onlink: u32 = if route.onlink { RTNH_F_ONLINK } else { 0 };
    let short_table = u8::try_from(table).unwrap_or(libc::RT_TABLE_UNSPEC);
    let mut body = vec![
        family_of(prefix.address),
        prefix.length,
        0,
        0,
        short_table,
        RTPROT_BOOT,
        scope,
        libc::RTN_UNICAST,
    ];
    body.extend_from_slice(&onlink.to_ne_bytes());
    let mut message = Message::new(kind, flags).body(&body);
    if prefix.length > 0 {
        message.attribute(libc::RTA_DST, &octets(prefix.address));
    }
    message.u32(libc::RTA_TABLE, table);
    message.u32(libc::RTA_OIF, index);
    for (attribute, text) in [(libc::RTA_GATEWAY, &route.gateway), (libc::RTA_PREFSRC, &route.source)] {
        if let Some(text) = text {
            message.attribute(attribute, &octets(checked_ip(operation, text, prefix.address)?));
        }
    }
    let via = route.gateway.as_ref().map(|g| format!(" via {g}")).unwrap_or_default();
    let object = format!("{}{via} dev {} table {table}", route.prefix, route.dev);
    Ok(with_verb(request(message, operation, object), verb))
}

pub fn rule(rule: &Rule, verb: Verb) -> Outcome<Request> {
    let (kind, flags, operation) = match verb {
        Verb::Set => (libc::RTM_NEWRULE, libc::NLM_F_CREATE | libc::NLM_F_EXCL, "RTM_NEWRULE"),
        Verb::Delete => (libc::RTM_DELRULE, 0, "RTM_DELRULE"),
    };
    let family = if rule.is_ipv6 { libc::AF_INET6 } else { libc::AF_INET } as u8;
    let from = rule.from.as_deref().map(|text| checked_prefix(operation, text)).transpose()?;
    if from.is_some_and(|prefix| family_of(prefix.address) != family) {
        return Err(Failure::invalid(
            operation,
            describe_rule(rule),
            "source is of the other address family",
        ));
    }
    let short_table = u8::try_from(rule.table).unwrap_or(libc::RT_TABLE_UNSPEC);
    let mut body = vec![family, 0, from.map_or(0, |p| p.length), 0, short_table, 0, 0, FR_ACT_TO_TBL];
    body.extend_from_slice(&[0; 4]);
    let mut message = Message::new(kind, flags).body(&body);
    message.u32(FRA_TABLE, rule.table);
    if let Some(priority) = rule.priority {
        message.u32(FRA_PRIORITY, priority);
    }
    if let Some(prefix) = from.filter(|p| p.length > 0) {
        message.attribute(FRA_SRC, &octets(prefix.address));
    }
    if let Some(protocol) = rule.ip_proto {
        message.attribute(FRA_IP_PROTO, &[protocol]);
    }
    for (attribute, range) in [(FRA_SPORT_RANGE, rule.src_port), (FRA_DPORT_RANGE, rule.dst_port)] {
        if let Some((first, last)) = range {
            message.attribute(attribute, &[first.to_ne_bytes(), last.to_ne_bytes()].concat());
        }
    }
    Ok(with_verb(request(message, operation, describe_rule(rule)), verb))
}

fn describe_rule(rule: &Rule) -> String {
    format!("from {} table {}", rule.from.as_deref().unwrap_or("all"), rule.table)
}

pub fn neighbour(index: u32, neighbour: &Neighbour, verb: Verb) -> Outcome<Request> {
    let (kind, flags, operation) = match verb {
        Verb::Set => (libc::RTM_NEWNEIGH, REPLACE, "RTM_NEWNEIGH"),
        Verb::Delete => (libc::RTM_DELNEIGH, 0, "RTM_DELNEIGH"),
    };
    let object = format!("{} dev {}", neighbour.ip, neighbour.dev);
    let ip: IpAddr =
        neighbour.ip.parse().map_err(|_| Failure::invalid(operation, object.clone(), "is no IP address"))?;
    let state = if neighbour.is_permanent { libc::NUD_PERMANENT } else { libc::NUD_REACHABLE };
    let mut body = vec![family_of(ip), 0, 0, 0];
    body.extend_from_slice(&index.to_ne_bytes());
    body.extend_from_slice(&state.to_ne_bytes());
    body.extend_from_slice(&[0, 0]);
    let mut message = Message::new(kind, flags).body(&body);
    message.attribute(libc::NDA_DST, &octets(ip));
    message.attribute(libc::NDA_LLADDR, &mac_bytes(operation, &neighbour.mac)?);
    Ok(with_verb(request(message, operation, object), verb))
}

/// What is there already, or gone already, is as wanted.
fn with_verb(request: Request, verb: Verb) -> Request {
    const ABSENT: &[i32] = &[libc::ENOENT, libc::ESRCH, libc::EADDRNOTAVAIL];
    const PRESENT: &[i32] = &[libc::EEXIST];
    match (verb, request.operation) {
        (Verb::Delete, _) => Request { forgiven: ABSENT, ..request },
        (Verb::Set, "RTM_NEWRULE") => Request { forgiven: PRESENT, ..request },
        (Verb::Set, _) => request,
    }
}

fn family_of(address: IpAddr) -> u8 {
    (if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }) as u8
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

fn checked_prefix(operation: &'static str, text: &str) -> Outcome<Prefix> {
    Prefix::parse(text).ok_or_else(|| Failure::invalid(operation, text, "is no address with a prefix length"))
}

fn checked_ip(operation: &'static str, text: &str, like: IpAddr) -> Outcome<IpAddr> {
    let ip: Option<IpAddr> = text.parse().ok();
    ip.filter(|ip| ip.is_ipv4() == like.is_ipv4())
        .ok_or_else(|| Failure::invalid(operation, text, format!("is no IP address of the family of {like}")))
}

fn checked_text<'a>(operation: &'static str, what: &str, text: &'a str, most: usize) -> Outcome<&'a str> {
    if text.len() > most {
        let detail = format!("{what} has {} bytes, {most} is the most", text.len());
        return Err(Failure::new(libc::ENAMETOOLONG, operation, text.chars().take(32).collect::<String>())
            .with_detail(detail));
    }
    if text.contains('\0') {
        return Err(Failure::invalid(operation, text, format!("{what} has a zero byte")));
    }
    Ok(text)
}

fn mac_bytes(operation: &'static str, text: &str) -> Outcome<Vec<u8>> {
    let parts: Option<Vec<u8>> = text
        .split(':')
        .map(|part| if part.len() == 2 { u8::from_str_radix(part, 16).ok() } else { None })
        .collect();
    parts
        .filter(|bytes| bytes.len() == 6)
        .ok_or_else(|| Failure::invalid(operation, text, "is no MAC address like aa:bb:cc:dd:ee:ff"))
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
