//! Answers of rtnetlink dumps: from messages to plain descriptions. What is cut or unknown is left out, never guessed.

use crate::fib_rule::{FRA_DPORT_RANGE, FRA_IP_PROTO, FRA_PRIORITY, FRA_SPORT_RANGE, FRA_SRC, FRA_TABLE};
use crate::message::{attributes, text_of, u16_at, u32_at, u64_at};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkInfo {
    pub index: u32,
    pub name: String,
    pub kind: String,
    pub alias: String,
    pub group: u32,
    pub mtu: u32,
    pub mac: String,
    pub up: bool,
    pub peer_index: u32,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    pub rx_packets: u64,
    pub tx_packets: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressInfo {
    pub dev: String,
    pub prefix: String,
    pub scope: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteInfo {
    pub dev: String,
    pub prefix: String,
    pub gateway: Option<String>,
    pub scope: &'static str,
    pub table: u32,
    pub source: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleInfo {
    pub is_ipv6: bool,
    pub table: u32,
    pub priority: u32,
    pub from: Option<String>,
    pub ip_proto: Option<u8>,
    pub dst_port: Option<(u16, u16)>,
    pub src_port: Option<(u16, u16)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeighbourInfo {
    pub dev: String,
    pub ip: String,
    pub mac: String,
    pub state: &'static str,
}

/// Link names by index.
pub type Names = HashMap<u32, String>;

pub fn link(payload: &[u8]) -> Option<LinkInfo> {
    let mut link = LinkInfo { index: u32_at(payload, 4)?, ..LinkInfo::default() };
    link.up = u32_at(payload, 8)? & libc::IFF_UP as u32 != 0;
    for (kind, value) in attributes(payload.get(16..)?) {
        match kind {
            libc::IFLA_IFNAME => link.name = text_of(value),
            libc::IFLA_IFALIAS => link.alias = text_of(value),
            libc::IFLA_GROUP => link.group = u32_at(value, 0)?,
            libc::IFLA_MTU => link.mtu = u32_at(value, 0)?,
            libc::IFLA_ADDRESS => link.mac = mac(value),
            libc::IFLA_LINK => link.peer_index = u32_at(value, 0)?,
            libc::IFLA_LINKINFO => {
                let kind = attributes(value).find(|(kind, _)| *kind == libc::IFLA_INFO_KIND);
                link.kind = kind.map(|(_, value)| text_of(value)).unwrap_or_default();
            }
            libc::IFLA_STATS64 => {
                link.rx_packets = u64_at(value, 0)?;
                link.tx_packets = u64_at(value, 8)?;
                link.rx_bytes = u64_at(value, 16)?;
                link.tx_bytes = u64_at(value, 24)?;
            }
            _ => {}
        }
    }
    Some(link)
}

pub fn address(payload: &[u8], names: &Names) -> Option<AddressInfo> {
    let (family, length) = (*payload.first()?, *payload.get(1)?);
    let dev = names.get(&u32_at(payload, 4)?)?.clone();
    // IFA_LOCAL is ours; on a point-to-point link IFA_ADDRESS is the other side's.
    let find =
        |wanted| attributes(&payload[8..]).find(|(kind, _)| *kind == wanted).and_then(|(_, v)| ip(family, v));
    let local = find(libc::IFA_LOCAL).or_else(|| find(libc::IFA_ADDRESS))?;
    Some(AddressInfo { dev, prefix: format!("{local}/{length}"), scope: scope(*payload.get(3)?)? })
}

/// Unicast and local routes; multipath, blackhole and cached ones are none of ours.
pub fn route(payload: &[u8], names: &Names) -> Option<RouteInfo> {
    let [family, length, _, _, short_table, _, raw_scope, kind] = *payload.first_chunk::<8>()?;
    if ![libc::RTN_UNICAST, libc::RTN_LOCAL].contains(&kind) || u32_at(payload, 8)? & libc::RTM_F_CLONED != 0
    {
        return None;
    }
    let unspecified: IpAddr = match i32::from(family) {
        libc::AF_INET => Ipv4Addr::UNSPECIFIED.into(),
        libc::AF_INET6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    let (mut to, mut dev, mut table) = (unspecified, None, u32::from(short_table));
    let (mut gateway, mut source) = (None, None);
    for (kind, value) in attributes(payload.get(12..)?) {
        match kind {
            libc::RTA_DST => to = ip(family, value)?,
            libc::RTA_OIF => dev = names.get(&u32_at(value, 0)?).cloned(),
            libc::RTA_TABLE => table = u32_at(value, 0)?,
            libc::RTA_GATEWAY => gateway = ip(family, value).map(|a| a.to_string()),
            libc::RTA_PREFSRC => source = ip(family, value).map(|a| a.to_string()),
            _ => {}
        }
    }
    Some(RouteInfo {
        dev: dev?,
        prefix: format!("{to}/{length}"),
        gateway,
        scope: scope(raw_scope)?,
        table,
        source,
    })
}

pub fn rule(payload: &[u8]) -> Option<RuleInfo> {
    let (family, length) = (*payload.first()?, *payload.get(2)?);
    let mut rule = RuleInfo {
        is_ipv6: i32::from(family) == libc::AF_INET6,
        table: u32::from(*payload.get(4)?),
        priority: 0,
        from: None,
        ip_proto: None,
        dst_port: None,
        src_port: None,
    };
    for (kind, value) in attributes(payload.get(12..)?) {
        match kind {
            FRA_TABLE => rule.table = u32_at(value, 0)?,
            FRA_PRIORITY => rule.priority = u32_at(value, 0)?,
            FRA_SRC => rule.from = Some(format!("{}/{length}", ip(family, value)?)),
            FRA_IP_PROTO => rule.ip_proto = value.first().copied(),
            FRA_SPORT_RANGE => rule.src_port = Some((u16_at(value, 0)?, u16_at(value, 2)?)),
            FRA_DPORT_RANGE => rule.dst_port = Some((u16_at(value, 0)?, u16_at(value, 2)?)),
            _ => {}
        }
    }
    Some(rule)
}

pub fn neighbour(payload: &[u8], names: &Names) -> Option<NeighbourInfo> {
    let family = *payload.first()?;
    let dev = names.get(&u32_at(payload, 4)?)?.clone();
    let state = state(u16_at(payload, 8)?)?;
    let (mut to, mut hardware) = (None, String::new());
    for (kind, value) in attributes(payload.get(12..)?) {
        match kind {
            libc::NDA_DST => to = ip(family, value),
            libc::NDA_LLADDR => hardware = mac(value),
            _ => {}
        }
    }
    Some(NeighbourInfo { dev, ip: to?.to_string(), mac: hardware, state })
}

fn ip(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    match i32::from(family) {
        libc::AF_INET => Some(Ipv4Addr::from(*bytes.first_chunk::<4>()?).into()),
        libc::AF_INET6 => Some(Ipv6Addr::from(*bytes.first_chunk::<16>()?).into()),
        _ => None,
    }
}

fn mac(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(":")
}

fn scope(raw: u8) -> Option<&'static str> {
    match raw {
        libc::RT_SCOPE_UNIVERSE => Some("global"),
        libc::RT_SCOPE_SITE => Some("site"),
        libc::RT_SCOPE_LINK => Some("link"),
        libc::RT_SCOPE_HOST => Some("host"),
        _ => None,
    }
}

fn state(raw: u16) -> Option<&'static str> {
    match raw {
        libc::NUD_INCOMPLETE => Some("incomplete"),
        libc::NUD_REACHABLE => Some("reachable"),
        libc::NUD_STALE => Some("stale"),
        libc::NUD_DELAY => Some("delay"),
        libc::NUD_PROBE => Some("probe"),
        libc::NUD_FAILED => Some("failed"),
        libc::NUD_NOARP => Some("noarp"),
        libc::NUD_PERMANENT => Some("permanent"),
        _ => None,
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
