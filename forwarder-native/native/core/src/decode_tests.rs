use super::*;
use crate::encode::{self, Link, Neighbour, Route, Rule, Verb};
use crate::message::messages;
use crate::rtnetlink::Request;

/// What is asked for has the same form as what a dump answers, so each encoder is read back by its decoder.
fn payload(request: Request) -> Vec<u8> {
    messages(&request.message.finish(1, false)).next().unwrap().payload.to_vec()
}

fn names() -> Names {
    HashMap::from([(4, "x".to_owned())])
}

#[test]
fn a_link_is_read_as_it_was_written() {
    let given = Link {
        name: "x".into(),
        up: Some(true),
        mtu: Some(1400),
        alias: Some("nsm:1".into()),
        mac: Some("02:00:00:00:00:0a".into()),
        group: Some(7),
        master: None,
    };
    let read = link(&payload(encode::link(4, None, &given).unwrap())).unwrap();
    let wanted = LinkInfo {
        index: 4,
        up: true,
        mtu: 1400,
        alias: "nsm:1".into(),
        mac: "02:00:00:00:00:0a".into(),
        group: 7,
        ..LinkInfo::default()
    };
    assert_eq!(read, wanted);
}

#[test]
fn an_address_is_read_as_it_was_written() {
    for prefix in ["10.0.0.1/24", "fd00::1/64"] {
        let read = address(&payload(encode::address(4, "x", prefix, Verb::Set).unwrap()), &names()).unwrap();
        assert_eq!((read.dev.as_str(), read.prefix.as_str(), read.scope), ("x", prefix, "global"));
    }
    let unknown = encode::address(5, "y", "10.0.0.1/24", Verb::Set).unwrap();
    assert!(address(&payload(unknown), &names()).is_none());
}

#[test]
fn a_route_is_read_as_it_was_written() {
    let given = Route {
        dev: "x".into(),
        prefix: "fd00:1::/64".into(),
        gateway: Some("fd00::2".into()),
        is_link_scope: true,
        onlink: false,
        table: Some(300),
        source: None,
    };
    let read = route(&payload(encode::route(4, &given, Verb::Set).unwrap()), &names()).unwrap();
    assert_eq!((read.prefix.as_str(), read.gateway.as_deref()), ("fd00:1::/64", Some("fd00::2")));
    assert_eq!((read.table, read.scope), (300, "link"));
    let all = Route { prefix: "0.0.0.0/0".into(), gateway: None, ..given };
    assert_eq!(
        route(&payload(encode::route(4, &all, Verb::Set).unwrap()), &names()).unwrap().prefix,
        "0.0.0.0/0"
    );
}

#[test]
fn a_rule_is_read_as_it_was_written() {
    let given = Rule {
        is_ipv6: true,
        table: 7,
        priority: Some(9),
        from: Some("fd00::/64".into()),
        ip_proto: Some(17),
        dst_port: Some((53, 53)),
        src_port: None,
    };
    let read = rule(&payload(encode::rule(&given, Verb::Set).unwrap())).unwrap();
    assert_eq!((read.is_ipv6, read.table, read.priority), (true, 7, 9));
    assert_eq!((read.from.as_deref(), read.ip_proto), (Some("fd00::/64"), Some(17)));
    assert_eq!((read.dst_port, read.src_port), (Some((53, 53)), None));
}

#[test]
fn a_neighbour_is_read_as_it_was_written() {
    let given = Neighbour {
        dev: "x".into(),
        ip: "10.0.0.2".into(),
        mac: "02:00:00:00:00:02".into(),
        is_permanent: true,
    };
    let read = neighbour(&payload(encode::neighbour(4, &given, Verb::Set).unwrap()), &names()).unwrap();
    assert_eq!(
        (read.ip.as_str(), read.mac.as_str(), read.state),
        ("10.0.0.2", "02:00:00:00:00:02", "permanent")
    );
}

#[test]
fn cut_answers_are_left_out() {
    let given = Link { alias: Some("a".into()), mtu: Some(9), ..Link::default() };
    let whole = payload(encode::link(4, None, &given).unwrap());
    for cut in 0..whole.len() {
        let short = &whole[..cut];
        let _ = (
            link(short),
            address(short, &names()),
            route(short, &names()),
            rule(short),
            neighbour(short, &names()),
        );
    }
}
