//! Reports to render: one of each kind, with real-looking data and names that try to break out.

use ipcz_reports::*;

/// A name every kind of markup would trip over.
pub const EVIL: &str = "<script>alert('x')</script>\"&";

fn count(name: &str, count: u64) -> Count {
    Count { name: name.into(), count }
}

fn checker(name: &str, checks: u64, exemptions: &[(&str, u64)]) -> Checker {
    Checker { name: name.into(), checks, exemptions: exemptions.iter().map(|(name, n)| count(name, *n)).collect() }
}

pub fn result(seed: u64) -> SeedResult {
    SeedResult {
        seed,
        held: true,
        events: 41_207 + seed,
        messages: 12_345,
        bypasses: 97,
        peak_proxies: 31,
        virtual_ns: 2_500_001_000,
        wall_ns: 87_654_321,
        memory_bytes: Some(5 << 20),
        rest_ns: Some(730_250_000),
        fingerprint: format!("9f3c{:012x}", seed * 77_777),
    }
}

/// A chain of `nodes` nodes: a route whose ends are in the first and the last.
pub fn chain(nodes: usize) -> RouteGraph {
    let router = |n: usize, r: usize| GraphRouter {
        name: format!("router {n}.{r}"),
        kind: match n {
            _ if r > 0 => RouterKind::Bridge,
            0 => RouterKind::Terminal,
            _ if n + 1 == nodes => RouterKind::Terminal,
            _ => RouterKind::Proxy,
        },
    };
    let at = |node, router| RouterRef { node, router };
    let mut links = Vec::new();
    for n in 1..nodes {
        let kind = match n {
            1 => LinkKind::Central,
            2 => LinkKind::Decaying,
            _ => LinkKind::Peripheral,
        };
        links.push(GraphLink { a: at(n - 1, 0), b: at(n, 0), kind });
        links.push(GraphLink { a: at(n, 0), b: at(n, 1), kind: LinkKind::Local });
    }
    let nodes = (0..nodes).map(|n| GraphNode { name: format!("node-{n}"), routers: vec![router(n, 0), router(n, 1)] });
    RouteGraph { nodes: nodes.collect(), links }
}

/// A single run that held.
pub fn held() -> Report {
    Report {
        run: Run {
            scenario: "relay-chain".into(),
            purpose: "A portal travels through eight nodes; every proxy on the way is bypassed.".into(),
            settings: [("nodes", "8"), ("pipes", "4"), ("latency", "50us..2ms"), ("faults.loss", "0.001")]
                .map(|(name, value)| Setting { name: name.into(), value: value.into() })
                .to_vec(),
            seeds: "7".into(),
            version: "0.1.0 (4bdfc84)".into(),
        },
        failure: None,
        checkers: vec![
            checker("exactly-once in-order delivery", 40_961, &[("link lost", 3), ("node crashed", 2)]),
            checker("no proxy at rest", 88, &[]),
            checker("one central link a route", 41_214, &[]),
        ],
        results: vec![result(7)],
        sweep: None,
        messages: vec![count("AcceptParcel", 9_001), count("BypassPeer", 97), count("StopProxying", 194), count("RouteClosed", 8)],
        requirements: vec![
            Requirement { name: "bypasses".into(), demanded: Demand::AtLeast(90), reached: 97 },
            Requirement { name: "links lost".into(), demanded: Demand::AtMost(4), reached: 1 },
            Requirement { name: "routes".into(), demanded: Demand::Exactly(16), reached: 16 },
        ],
        graph: Some(chain(8)),
    }
}

/// A single run that failed, with `messages` messages, the violating one `after` before the last.
pub fn failed(messages: usize, after: usize) -> Report {
    let line = |i: usize| TraceLine {
        virtual_ns: 1_000_000_000 + i as u64 * 12_345,
        from: format!("node-{}", i % 8),
        to: format!("node-{}", (i + 1) % 8),
        text: format!("AcceptParcel sublink={} sequence={i} bytes=64 portals=1", i % 5),
    };
    let mut report = held();
    report.results[0].held = false;
    report.results[0].rest_ns = None;
    report.results[0].memory_bytes = None;
    report.failure = Some(Failure {
        property: "no proxy at rest".into(),
        place: "node-3 router 12".into(),
        detail: "expected no proxies at rest, found 1: its inward edge never decayed".into(),
        virtual_ns: 1_234_567_890,
        seed: 7,
        step: 40_123,
        replay: "ipcz-sim run relay-chain --seed 7 --until 40123".into(),
        messages: (0..messages).map(line).collect(),
        violation: messages.checked_sub(after + 1),
    });
    report
}

/// A sweep over `seeds` seeds that held.
pub fn sweep(seeds: u64) -> Report {
    Report {
        run: Run { seeds: format!("1..={seeds}"), ..held().run },
        results: (1..=seeds).map(result).collect(),
        sweep: Some(Sweep { seeds, failed: 0, distinct_fingerprints: seeds - 1, distinct_orders: seeds - 2 }),
        ..held()
    }
}
