use super::*;
use crate::message::{attributes, messages};

fn payload(request: Request) -> (u16, u16, Vec<u8>) {
    let bytes = request.message.finish(1, false);
    let found = messages(&bytes).next().unwrap();
    (found.kind, found.flags, found.payload.to_vec())
}

fn attribute(payload: &[u8], body: usize, kind: u16) -> Option<Vec<u8>> {
    attributes(&payload[body..]).find(|(k, _)| *k == kind).map(|(_, v)| v.to_vec())
}

#[test]
fn a_veth_pair_is_one_message_with_both_namespaces() {
    let a = VethEnd { netns: 7, name: "nsm-1", mac: Some("02:00:00:00:00:01") };
    let b = VethEnd { netns: 8, name: "nsm-2", mac: None };
    let (kind, flags, bytes) = payload(veth(&a, &b, 1500, 99).unwrap());
    assert_eq!(kind, libc::RTM_NEWLINK);
    assert_eq!(i32::from(flags), libc::NLM_F_REQUEST | libc::NLM_F_CREATE | libc::NLM_F_EXCL);
    assert_eq!(attribute(&bytes, 16, libc::IFLA_IFNAME).unwrap(), b"nsm-1\0");
    assert_eq!(attribute(&bytes, 16, libc::IFLA_ADDRESS).unwrap(), [2, 0, 0, 0, 0, 1]);
    assert_eq!(attribute(&bytes, 16, libc::IFLA_NET_NS_FD).unwrap(), 7_u32.to_ne_bytes());
    assert_eq!(attribute(&bytes, 16, libc::IFLA_NUM_TX_QUEUES).unwrap(), 1_u32.to_ne_bytes());
    let info = attribute(&bytes, 16, libc::IFLA_LINKINFO).unwrap();
    assert_eq!(attribute(&info, 0, libc::IFLA_INFO_KIND).unwrap(), b"veth\0");
    let peer = attribute(&attribute(&info, 0, libc::IFLA_INFO_DATA).unwrap(), 0, VETH_INFO_PEER).unwrap();
    assert_eq!(attribute(&peer, 16, libc::IFLA_IFNAME).unwrap(), b"nsm-2\0");
    assert_eq!(attribute(&peer, 16, libc::IFLA_NET_NS_FD).unwrap(), 8_u32.to_ne_bytes());
    assert_eq!(attribute(&peer, 16, libc::IFLA_GROUP).unwrap(), 99_u32.to_ne_bytes());
}

#[test]
fn a_link_change_says_only_what_changes() {
    let change = Link { name: "x".into(), up: Some(false), alias: Some("nsm:a".into()), ..Link::default() };
    let (_, flags, bytes) = payload(link(5, None, &change).unwrap());
    assert_eq!(i32::from(flags), libc::NLM_F_REQUEST);
    assert_eq!(bytes[4..8], 5_u32.to_ne_bytes());
    assert_eq!((bytes[8], bytes[12]), (0, libc::IFF_UP as u8));
    assert_eq!(attributes(&bytes[16..]).count(), 1);
    assert_eq!(attribute(&bytes, 16, libc::IFLA_IFALIAS).unwrap(), b"nsm:a");
    let long = Link { alias: Some("x".repeat(256)), ..change };
    assert_eq!(link(5, None, &long).err().unwrap().errno, libc::ENAMETOOLONG);
}

#[test]
fn a_bridge_and_its_port() {
    let (kind, flags, bytes) = payload(bridge("br").unwrap());
    assert_eq!(kind, libc::RTM_NEWLINK);
    assert_eq!(i32::from(flags), libc::NLM_F_REQUEST | libc::NLM_F_CREATE | libc::NLM_F_EXCL);
    assert_eq!(attribute(&bytes, 16, libc::IFLA_IFNAME).unwrap(), b"br\0");
    let info = attribute(&bytes, 16, libc::IFLA_LINKINFO).unwrap();
    assert_eq!(attribute(&info, 0, libc::IFLA_INFO_KIND).unwrap(), b"bridge\0");
    let (_, _, bytes) = payload(link(5, Some(9), &Link { name: "x".into(), ..Link::default() }).unwrap());
    assert_eq!(attribute(&bytes, 16, libc::IFLA_MASTER).unwrap(), 9_u32.to_ne_bytes());
}

#[test]
fn links_are_deleted_by_index_or_by_group() {
    let (kind, _, bytes) = payload(delete_link(6, "x"));
    assert_eq!((kind, &bytes[4..8], bytes.len()), (libc::RTM_DELLINK, &6_u32.to_ne_bytes()[..], 16));
    let (kind, _, bytes) = payload(delete_group(77, "x".into()));
    assert_eq!((kind, &bytes[4..8]), (libc::RTM_DELLINK, &[0; 4][..]));
    assert_eq!(attribute(&bytes, 16, libc::IFLA_GROUP).unwrap(), 77_u32.to_ne_bytes());
    let (kind, _, bytes) = payload(set_group(6, "x", 77));
    assert_eq!((kind, bytes[4]), (libc::RTM_SETLINK, 6));
}

#[test]
fn addresses_of_both_families() {
    let (kind, flags, bytes) = payload(address(3, "x", "10.0.0.1/24", Verb::Set).unwrap());
    assert_eq!(kind, libc::RTM_NEWADDR);
    assert_eq!(i32::from(flags), libc::NLM_F_REQUEST | libc::NLM_F_CREATE | libc::NLM_F_REPLACE);
    assert_eq!(bytes[..4], [libc::AF_INET as u8, 24, 0, 0]);
    assert_eq!(attribute(&bytes, 8, libc::IFA_LOCAL).unwrap(), [10, 0, 0, 1]);
    let (kind, _, bytes) = payload(address(3, "x", "fd00::1/128", Verb::Delete).unwrap());
    assert_eq!(kind, libc::RTM_DELADDR);
    assert_eq!(bytes[..4], [libc::AF_INET6 as u8, 128, libc::IFA_F_NODAD as u8, 0]);
    for text in ["10.0.0.1", "10.0.0.1/33", "10.0.0.1/", "/24", "fd00::/129", "x/1", "10.0.0.1/-1"] {
        assert_eq!(address(3, "x", text, Verb::Set).err().unwrap().errno, libc::EINVAL, "{text}");
    }
}

#[test]
fn routes_with_gateway_table_scope_and_source() {
    let given = Route {
        dev: "x".into(),
        prefix: "10.1.0.0/16".into(),
        gateway: Some("10.0.0.1".into()),
        is_link_scope: false,
        onlink: true,
        table: Some(1000),
        source: Some("10.0.0.9".into()),
    };
    let made = route(4, &given, Verb::Set).unwrap();
    assert_eq!(made.object, "10.1.0.0/16 via 10.0.0.1 dev x table 1000");
    let (kind, _, bytes) = payload(made);
    assert_eq!(kind, libc::RTM_NEWROUTE);
    assert_eq!(bytes[..8], [libc::AF_INET as u8, 16, 0, 0, 0, RTPROT_BOOT, 0, libc::RTN_UNICAST]);
    assert_eq!(bytes[8..12], RTNH_F_ONLINK.to_ne_bytes());
    assert_eq!(attribute(&bytes, 12, libc::RTA_TABLE).unwrap(), 1000_u32.to_ne_bytes());
    assert_eq!(attribute(&bytes, 12, libc::RTA_GATEWAY).unwrap(), [10, 0, 0, 1]);
    assert_eq!(attribute(&bytes, 12, libc::RTA_PREFSRC).unwrap(), [10, 0, 0, 9]);
    let default = Route {
        prefix: "::/0".into(),
        gateway: None,
        source: None,
        table: None,
        is_link_scope: true,
        ..given.clone()
    };
    let (_, _, bytes) = payload(route(4, &default, Verb::Delete).unwrap());
    assert_eq!(bytes[4], 254);
    assert_eq!(bytes[6], libc::RT_SCOPE_LINK);
    assert!(attribute(&bytes, 12, libc::RTA_DST).is_none());
    let mixed = Route { gateway: Some("fd00::1".into()), ..given };
    assert_eq!(route(4, &mixed, Verb::Set).err().unwrap().errno, libc::EINVAL);
}

#[test]
fn rules_with_every_selector() {
    let given = Rule {
        is_ipv6: false,
        table: 7,
        priority: Some(100),
        from: Some("172.16.1.100/32".into()),
        ip_proto: Some(6),
        dst_port: Some((80, 90)),
        src_port: Some((1000, 1000)),
    };
    let (kind, flags, bytes) = payload(rule(&given, Verb::Set).unwrap());
    assert_eq!(kind, libc::RTM_NEWRULE);
    assert_eq!(i32::from(flags) & libc::NLM_F_EXCL, libc::NLM_F_EXCL);
    assert_eq!(bytes[..8], [libc::AF_INET as u8, 0, 32, 0, 7, 0, 0, FR_ACT_TO_TBL]);
    assert_eq!(attribute(&bytes, 12, FRA_IP_PROTO).unwrap(), [6]);
    assert_eq!(attribute(&bytes, 12, FRA_DPORT_RANGE).unwrap(), [80, 0, 90, 0]);
    assert_eq!(attribute(&bytes, 12, FRA_SPORT_RANGE).unwrap(), [0xe8, 3, 0xe8, 3]);
    assert_eq!(attribute(&bytes, 12, FRA_PRIORITY).unwrap(), 100_u32.to_ne_bytes());
    assert_eq!(attribute(&bytes, 12, FRA_SRC).unwrap(), [172, 16, 1, 100]);
    let other = Rule { is_ipv6: true, ..given };
    assert_eq!(rule(&other, Verb::Delete).err().unwrap().errno, libc::EINVAL);
}

#[test]
fn neighbours() {
    let given = Neighbour {
        dev: "x".into(),
        ip: "fd00::2".into(),
        mac: "02:00:00:00:00:02".into(),
        is_permanent: true,
    };
    let (kind, _, bytes) = payload(neighbour(4, &given, Verb::Set).unwrap());
    assert_eq!(kind, libc::RTM_NEWNEIGH);
    assert_eq!(bytes[0], libc::AF_INET6 as u8);
    assert_eq!(bytes[8..10], libc::NUD_PERMANENT.to_ne_bytes());
    assert_eq!(attribute(&bytes, 12, libc::NDA_LLADDR).unwrap(), [2, 0, 0, 0, 0, 2]);
    for mac in ["", "02:00:00:00:00", "02:00:00:00:00:0g", "2:0:0:0:0:2", "02:00:00:00:00:00:00"] {
        let bad = Neighbour { mac: mac.into(), ..given.clone() };
        assert_eq!(neighbour(4, &bad, Verb::Set).err().unwrap().errno, libc::EINVAL, "{mac}");
    }
    let bad = Neighbour { ip: "fd00::2/64".into(), ..given };
    assert_eq!(neighbour(4, &bad, Verb::Delete).err().unwrap().errno, libc::EINVAL);
}
