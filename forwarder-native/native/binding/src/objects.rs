//! The shapes of `surface.ts`, and their way into and out of the core's own.

use napi::bindgen_prelude::BigInt;
use napi_derive::napi;
use nsm_native_core::decode::{AddressInfo, LinkInfo, NeighbourInfo, RouteInfo, RuleInfo};
use nsm_native_core::describe::Description;
use nsm_native_core::encode::{Link, Neighbour, Route, Rule, Verb};
use nsm_native_core::state::State;
use nsm_native_core::sysctl::Sysctl;
use nsm_native_core::wiring::{Change, EndName};
use nsm_native_core::{Failure, Outcome};

#[napi(object)]
pub struct Refusal {
    pub errno: i32,
    pub code: String,
    pub operation: String,
    pub object: String,
    pub message: String,
    pub failures: Vec<RefusalAt>,
}

#[napi(object)]
pub struct RefusalAt {
    pub index: u32,
    pub error: Refusal,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Refusal {
        Refusal {
            errno: failure.errno,
            code: failure.code(),
            operation: failure.operation.into(),
            message: failure.to_string(),
            failures: failure
                .failures
                .into_iter()
                .map(|(index, failure)| RefusalAt { index: index as u32, error: failure.into() })
                .collect(),
            object: failure.object,
        }
    }
}

#[napi(object)]
pub struct DescriptorInfo {
    pub dev: BigInt,
    pub inode: BigInt,
    pub kind: String,
    pub is_own_netns: bool,
    pub is_path_only: bool,
}

impl From<Description> for DescriptorInfo {
    fn from(seen: Description) -> DescriptorInfo {
        DescriptorInfo {
            dev: seen.dev.into(),
            inode: seen.inode.into(),
            kind: seen.kind.into(),
            is_own_netns: seen.is_own_netns,
            is_path_only: seen.is_path_only,
        }
    }
}

#[napi(object)]
pub struct PeerCredentials {
    pub pid: i32,
    pub uid: u32,
    pub gid: u32,
}

#[napi(object)]
pub struct VethEnd {
    pub netns_fd: i32,
    pub name: String,
    pub mac: Option<String>,
    pub changes: Option<Vec<ChangeObject>>,
}

impl VethEnd {
    /// Name and changes; the namespace is acquired apart.
    pub fn parts(self) -> Outcome<(EndName, Vec<Change>)> {
        let changes = changes_of(self.changes.unwrap_or_default())?;
        Ok((EndName { name: self.name, mac: self.mac }, changes))
    }
}

/// All of them, or the first that cannot be read, by its position.
pub fn changes_of(changes: Vec<ChangeObject>) -> Outcome<Vec<Change>> {
    let at_position = |(at, change): (usize, ChangeObject)| {
        change.into_change().map_err(|failure| Failure { failures: vec![(at, failure.clone())], ..failure })
    };
    changes.into_iter().enumerate().map(at_position).collect()
}

#[napi(object)]
pub struct VethPair {
    pub a: VethEnd,
    pub b: VethEnd,
    pub mtu: u32,
    pub group: u32,
}

/// All members of all kinds of change; which of them count, `op` says.
#[napi(object)]
#[derive(Default)]
pub struct ChangeObject {
    pub op: String,
    pub name: Option<String>,
    pub up: Option<bool>,
    pub mtu: Option<u32>,
    pub alias: Option<String>,
    pub mac: Option<String>,
    pub group: Option<u32>,
    pub master: Option<String>,
    pub dev: Option<String>,
    pub prefix: Option<String>,
    pub gateway: Option<String>,
    pub scope: Option<String>,
    pub onlink: Option<bool>,
    pub table: Option<u32>,
    pub source: Option<String>,
    pub family: Option<u32>,
    pub priority: Option<u32>,
    pub from: Option<String>,
    pub ip_proto: Option<u32>,
    pub dst_port: Option<Vec<u32>>,
    pub src_port: Option<Vec<u32>>,
    pub ip: Option<String>,
    pub state: Option<String>,
    pub value: Option<String>,
    pub if_present: Option<bool>,
}

impl ChangeObject {
    pub fn into_change(self) -> Outcome<Change> {
        let verb = if self.op.starts_with("delete-") { Verb::Delete } else { Verb::Set };
        Ok(match self.op.trim_start_matches("delete-") {
            "link" => Change::Link(Link {
                name: needed(self.name, "name")?,
                up: self.up,
                mtu: self.mtu,
                alias: self.alias,
                mac: self.mac,
                group: self.group,
                master: self.master,
            }),
            "address" => Change::Address {
                dev: needed(self.dev, "dev")?,
                prefix: needed(self.prefix, "prefix")?,
                verb,
            },
            "route" => Change::Route(self.into_route()?, verb),
            "rule" => Change::Rule(self.into_rule()?, verb),
            "neighbour" => Change::Neighbour(
                Neighbour {
                    dev: needed(self.dev, "dev")?,
                    ip: needed(self.ip, "ip")?,
                    mac: needed(self.mac, "mac")?,
                    is_permanent: self.state.as_deref() == Some("permanent"),
                },
                verb,
            ),
            "sysctl" => Change::Sysctl(Sysctl {
                name: needed(self.name, "name")?,
                value: needed(self.value, "value")?,
                if_present: self.if_present.unwrap_or(false),
            }),
            _ => return Err(Failure::invalid("apply", self.op, "is no kind of change")),
        })
    }

    fn into_route(self) -> Outcome<Route> {
        Ok(Route {
            dev: needed(self.dev, "dev")?,
            prefix: needed(self.prefix, "prefix")?,
            gateway: self.gateway,
            is_link_scope: self.scope.as_deref() == Some("link"),
            onlink: self.onlink.unwrap_or(false),
            table: self.table,
            source: self.source,
        })
    }

    fn into_rule(self) -> Outcome<Rule> {
        Ok(Rule {
            is_ipv6: self.family == Some(6),
            table: needed(self.table, "table")?,
            priority: self.priority,
            from: self.from,
            ip_proto: self.ip_proto.map(|p| small(p, "ipProto")).transpose()?,
            dst_port: self.dst_port.map(|range| ports(&range, "dstPort")).transpose()?,
            src_port: self.src_port.map(|range| ports(&range, "srcPort")).transpose()?,
        })
    }
}

fn needed<T>(value: Option<T>, name: &str) -> Outcome<T> {
    value.ok_or_else(|| Failure::invalid("apply", name, "is missing"))
}

fn small<T: TryFrom<u32>>(value: u32, name: &str) -> Outcome<T> {
    T::try_from(value).map_err(|_| Failure::invalid("apply", name, format!("{value} is too large")))
}

fn ports(range: &[u32], name: &str) -> Outcome<(u16, u16)> {
    match range {
        [first, last] if first <= last => Ok((small(*first, name)?, small(*last, name)?)),
        _ => Err(Failure::invalid("apply", name, "is no range of two ports")),
    }
}

#[napi(object)]
#[derive(Default)]
pub struct StateObject {
    pub links: Vec<LinkObject>,
    pub addresses: Vec<AddressObject>,
    pub routes: Vec<RouteObject>,
    pub rules: Vec<RuleObject>,
    pub neighbours: Vec<NeighbourObject>,
}

impl From<State> for StateObject {
    fn from(state: State) -> StateObject {
        StateObject {
            links: state.links.into_iter().map(Into::into).collect(),
            addresses: state.addresses.into_iter().map(Into::into).collect(),
            routes: state.routes.into_iter().map(Into::into).collect(),
            rules: state.rules.into_iter().map(Into::into).collect(),
            neighbours: state.neighbours.into_iter().map(Into::into).collect(),
        }
    }
}

#[napi(object)]
pub struct LinkObject {
    pub index: u32,
    pub name: String,
    pub kind: String,
    pub alias: String,
    pub group: u32,
    pub mtu: u32,
    pub mac: String,
    pub up: bool,
    pub peer_index: u32,
    pub rx_bytes: i64,
    pub tx_bytes: i64,
    pub rx_packets: i64,
    pub tx_packets: i64,
}

impl From<LinkInfo> for LinkObject {
    fn from(link: LinkInfo) -> LinkObject {
        LinkObject {
            index: link.index,
            name: link.name,
            kind: link.kind,
            alias: link.alias,
            group: link.group,
            mtu: link.mtu,
            mac: link.mac,
            up: link.up,
            peer_index: link.peer_index,
            rx_bytes: link.rx_bytes as i64,
            tx_bytes: link.tx_bytes as i64,
            rx_packets: link.rx_packets as i64,
            tx_packets: link.tx_packets as i64,
        }
    }
}

#[napi(object)]
pub struct AddressObject {
    pub dev: String,
    pub prefix: String,
    pub scope: String,
}

impl From<AddressInfo> for AddressObject {
    fn from(address: AddressInfo) -> AddressObject {
        AddressObject { dev: address.dev, prefix: address.prefix, scope: address.scope.into() }
    }
}

#[napi(object)]
pub struct RouteObject {
    pub dev: String,
    pub prefix: String,
    pub gateway: Option<String>,
    pub scope: String,
    pub table: u32,
    pub source: Option<String>,
}

impl From<RouteInfo> for RouteObject {
    fn from(route: RouteInfo) -> RouteObject {
        let RouteInfo { dev, prefix, gateway, scope, table, source } = route;
        RouteObject { dev, prefix, gateway, scope: scope.into(), table, source }
    }
}

#[napi(object)]
pub struct RuleObject {
    pub family: u32,
    pub table: u32,
    pub priority: u32,
    pub from: Option<String>,
    pub ip_proto: Option<u32>,
    pub dst_port: Option<Vec<u32>>,
    pub src_port: Option<Vec<u32>>,
}

impl From<RuleInfo> for RuleObject {
    fn from(rule: RuleInfo) -> RuleObject {
        let range = |(first, last): (u16, u16)| vec![first.into(), last.into()];
        RuleObject {
            family: if rule.is_ipv6 { 6 } else { 4 },
            table: rule.table,
            priority: rule.priority,
            from: rule.from,
            ip_proto: rule.ip_proto.map(Into::into),
            dst_port: rule.dst_port.map(range),
            src_port: rule.src_port.map(range),
        }
    }
}

#[napi(object)]
pub struct NeighbourObject {
    pub dev: String,
    pub ip: String,
    pub mac: String,
    pub state: String,
}

impl From<NeighbourInfo> for NeighbourObject {
    fn from(neighbour: NeighbourInfo) -> NeighbourObject {
        let NeighbourInfo { dev, ip, mac, state } = neighbour;
        NeighbourObject { dev, ip, mac, state: state.into() }
    }
}
