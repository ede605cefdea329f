//! What the page says and what it must never do.

mod samples;

use ipcz_reports::*;
use samples::{EVIL, chain, failed, held, result, sweep};

fn page(report: &Report) -> String {
    html(report).expect("the page renders")
}

fn has(page: &str, wanted: &[&str]) {
    for text in wanted {
        assert!(page.contains(text), "{text:?} is missing");
    }
}

#[test]
fn a_held_run_tells_everything_it_was_given() {
    let report = held();
    assert_eq!(report.sentence(), "Scenario relay-chain with seed 7 held: 82,263 checks by 3 checkers, no violation.");
    let page = page(&report);
    has(&page, &[&report.sentence(), &report.run.purpose, "0.1.0 (4bdfc84)", "faults.loss", "<code>50us..2ms</code>"]);
    has(&page, &["exactly-once in-order delivery", ">40,961<", ">88<", ">41,214<", "link lost: 3", "node crashed: 2"]);
    has(&page, &[">41,214<", ">12,345<", ">97<", ">31<", ">2.500001 s<", ">87.654 ms<", ">5.0 MiB<", ">730.25 ms<", "9f3c00000008"]);
    has(&page, &[">470,187<", "AcceptParcel", ">9,001<", ">194<", ">8<", ">9,300<", "at least 90", "at most 4", "exactly 16"]);
    has(&page, &["8 nodes, 16 routers (proxies: 6), 14 links", "<h2>What held</h2>"]);
    assert!(!page.contains("missed") && !page.contains("sample") && !page.contains("class=\"bad\""));
}

#[test]
fn sections_come_in_reading_order() {
    let page = page(&failed(20, 3));
    let order = [
        "class=\"sentence\"",
        "What ran",
        "What was checked",
        "Results",
        "Messages by kind",
        "Requirements",
        "Routes at",
        "Messages around",
    ];
    let places: Vec<usize> = order.iter().map(|text| page.find(text).expect(text)).collect();
    assert!(places.is_sorted(), "{places:?}");
}

#[test]
fn a_failed_run_says_what_where_when_and_how_to_replay() {
    let report = failed(20, 3);
    assert_eq!(
        report.sentence(),
        "Scenario relay-chain with seed 7 failed: no proxy at rest did not hold at node-3 router 12, at virtual time 1.23456789 s \
         (seed 7, step 40,123); replay with: ipcz-sim run relay-chain --seed 7 --until 40123"
    );
    let page = page(&report);
    has(&page, &[&report.sentence(), "its inward edge never decayed", "did not rest", "not measured", ">1.000012345 s<"]);
    let row = page.split("<tr").find(|row| row.contains("id=\"violation\"")).expect("the violating message is marked");
    assert!(row.contains("class=\"bad\"") && row.contains("sequence=16 "), "{row}");
    assert_eq!(page.matches("id=\"violation\"").count(), 1);
    has(&page, &["href=\"#violation\""]);
}

#[test]
fn a_sweep_lists_failed_seeds_first_and_says_what_it_left_out() {
    let mut report = sweep(3_000);
    assert_eq!(report.sentence(), "Scenario relay-chain over 3,000 seeds held: 82,263 checks by 3 checkers, no violation.");
    report.results[2_998].held = false;
    if let Some(sweep) = &mut report.sweep {
        sweep.failed = 1;
    }
    let page = page(&report);
    assert_eq!(report.sentence(), "Scenario relay-chain over 3,000 seeds failed for 1 seed.");
    has(&page, &["What was checked", "200 of 3,000 seeds are listed", ">2,999<", ">2,998<"]);
    let first = page.find("<td class=\"n\">2999</td>").expect("the failed seed is listed");
    assert!(first < page.find("<td class=\"n\">1</td>").expect("the first seed is listed"));
    assert!(!page.contains("<td class=\"n\">200</td>"));
}

#[test]
fn nothing_checked_or_too_little_reached_is_not_success() {
    let mut report = held();
    report.requirements[0].reached = 89;
    assert_eq!(report.verdict(), Verdict::Weak);
    assert_eq!(
        report.sentence(),
        "Scenario relay-chain with seed 7 violated nothing (82,263 checks by 3 checkers), but missed 1 requirement."
    );
    has(&page(&report), &["<strong>missed</strong>", "<header class=\"weak\">"]);
    report.checkers.clear();
    assert_eq!(report.sentence(), "Scenario relay-chain with seed 7 ran, but nothing was checked.");
    has(&page(&report), &["No checker looked at this run."]);
    report.results[0].held = false;
    assert_eq!(report.verdict(), Verdict::Failed);
}

#[test]
fn demands_are_bounds() {
    let met = |demanded, reached| Requirement { name: String::new(), demanded, reached }.met();
    assert_eq!([1, 2, 3].map(|n| met(Demand::AtLeast(2), n)), [false, true, true]);
    assert_eq!([1, 2, 3].map(|n| met(Demand::AtMost(2), n)), [true, true, false]);
    assert_eq!([1, 2, 3].map(|n| met(Demand::Exactly(2), n)), [false, true, false]);
}

/// A report in which every text is hostile.
fn hostile() -> Report {
    let evil = || EVIL.to_owned();
    let mut report = failed(3, 0);
    report.run =
        Run { scenario: evil(), purpose: evil(), settings: vec![Setting { name: evil(), value: evil() }], seeds: evil(), version: evil() };
    report.checkers[0].name = evil();
    report.checkers[0].exemptions[0].name = evil();
    report.results[0].fingerprint = evil();
    report.messages[0].name = evil();
    report.requirements[0].name = evil();
    if let Some(graph) = &mut report.graph {
        graph.nodes[0].name = evil();
        graph.nodes[0].routers[0].name = evil();
    }
    if let Some(f) = &mut report.failure {
        (f.property, f.place, f.detail, f.replay) = (evil(), evil(), evil(), evil());
        f.messages[0] = TraceLine { virtual_ns: 0, from: evil(), to: evil(), text: evil() };
    }
    report
}

#[test]
fn texts_cannot_break_out() {
    let page = page(&hostile());
    assert!(!page.contains("<script") && !page.contains("alert('"));
    assert!(page.matches("&lt;script&gt;").count() > 20, "hostile names are shown, not dropped");
}

#[test]
fn the_page_loads_nothing() {
    for page in [held(), failed(20, 3), sweep(30), hostile()].map(|report| page(&report)) {
        for banned in ["http", "src=", "@import", "url(", "<link", "<script"] {
            assert!(!page.contains(banned), "{banned}");
        }
    }
}

#[test]
fn large_reports_stay_small_and_say_what_is_missing() {
    let mut report = failed(5_000, 100);
    report.graph = Some(chain(2_000));
    report.results = (0..5_000).map(result).collect();
    let page = page(&report);
    assert!(page.len() < 1_000_000, "{} bytes", page.len());
    has(&page, &["250 of 5,000 messages", "Only a sample is drawn: 60 nodes, 120 routers", "200 of 5,000 seeds", "id=\"violation\""]);

    let crowd = (0..20_000)
        .map(|n| GraphRouter { name: format!("r{n}"), kind: if n == 19_999 { RouterKind::Proxy } else { RouterKind::Terminal } });
    report.graph = Some(RouteGraph { nodes: vec![GraphNode { name: "crowd".into(), routers: crowd.collect() }], links: vec![] });
    let page = html(&report).expect("the page renders");
    assert!(page.len() < 1_000_000, "{} bytes", page.len());
    has(&page, &["crowd +19976", "<title>r19999</title>", "too long for this page"]);
}

#[test]
fn the_drawing_has_every_node_router_and_link_by_kind() {
    let page = page(&held());
    let drawing = page.split("class=\"graph\"").nth(1).and_then(|rest| rest.split("</svg>").next()).expect("a drawing");
    let classes = ["node", "terminal", "proxy", "bridge", "central", "decaying", "peripheral", "local"];
    let counts = classes.map(|class| drawing.matches(&format!("class=\"{class}\"")).count());
    assert_eq!(counts, [8, 2, 6, 8, 1, 1, 5, 7]);
    has(drawing, &[">node-7<title>", "<title>router 3.1</title>"]);
}

#[test]
fn a_sample_is_of_the_nodes_with_proxies_and_their_neighbours() {
    let mut graph = chain(500);
    for node in &mut graph.nodes {
        node.routers[0].kind = RouterKind::Terminal;
    }
    graph.nodes[400].routers[0].kind = RouterKind::Proxy;
    let report = Report { graph: Some(graph), ..held() };
    let page = page(&report);
    let drawn = page.split("<details>").next().expect("the drawing comes before the text");
    has(drawn, &["<title>node-400</title>", "<title>node-371</title>", "<title>node-429</title>"]);
    assert!(!drawn.contains("<title>node-0</title>"));
}

#[test]
fn links_to_nowhere_are_counted_not_drawn() {
    let mut graph = chain(3);
    graph.links[0].b.node = 99;
    assert!(!dot(&graph).contains("n99"));
    has(&page(&Report { graph: Some(graph), ..held() }), &["name a router that is not in the graph: 1 link."]);
}

#[test]
fn dot_has_clusters_kinds_and_quoted_names() {
    let mut graph = chain(3);
    graph.nodes[0].name = "a\"b\\c\nd".into();
    let text = dot(&graph);
    has(&text, &["cluster_0 { label=\"a\\\"b\\\\c\\nd\";", "n1r0 [label=\"router 1.0\", shape=doublecircle];"]);
    has(&text, &["n0r0 -- n1r0 [penwidth=3];", "n1r0 -- n2r0 [style=dashed];", "n1r0 -- n1r1 [color=gray];"]);
}

#[test]
fn the_same_report_gives_the_same_bytes() {
    assert_eq!(page(&failed(300, 20)), page(&failed(300, 20)));
    assert_ne!(page(&failed(300, 20)), page(&failed(300, 21)));
}

#[test]
fn an_empty_report_renders() {
    has(&page(&Report::default()), &["nothing was checked"]);
}
