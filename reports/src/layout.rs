//! Where a route graph's boxes, dots and lines go. Nodes fill rows, the first from left to right, the next back again, so
//! that a chain's links stay short; of a large graph only a sample is drawn.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::Serialize;

use crate::format::clip;
use crate::record::{LinkKind, RouteGraph, RouterKind, RouterRef};

/// Most nodes drawn.
pub const MAX_NODES: usize = 60;
/// Most routers drawn in one node.
pub const MAX_ROUTERS: usize = 24;
/// Most links drawn.
const MAX_LINKS: usize = 2_000;

const DOTS_IN_ROW: usize = 6;
const DOT_STEP: usize = 22;
const PAD: usize = 14;
const HEAD: usize = 26;
const GAP_X: usize = 44;
const GAP_Y: usize = 40;
const PAGE_WIDTH: usize = 1_080;

/// A drawing, in pixels.
#[derive(Debug, Default, Serialize)]
pub struct Layout {
    pub width: usize,
    pub height: usize,
    pub boxes: Vec<NodeBox>,
    pub dots: Vec<Dot>,
    pub lines: Vec<Line>,
    pub sample: Sample,
}

/// What of the graph is drawn.
#[derive(Debug, Default, Serialize)]
pub struct Sample {
    pub nodes: usize,
    pub routers: usize,
    pub links: usize,
    pub all_nodes: usize,
    pub all_routers: usize,
    pub all_links: usize,
    pub all_proxies: usize,
    /// Links that name a router the graph has not.
    pub dangling: usize,
    /// Whether nodes were left out.
    pub partial: bool,
}

/// The box of a node.
#[derive(Debug, Serialize)]
pub struct NodeBox {
    pub x: usize,
    pub y: usize,
    pub width: usize,
    pub height: usize,
    pub label: String,
    pub title: String,
}

/// The dot of a router.
#[derive(Debug, Serialize)]
pub struct Dot {
    pub x: usize,
    pub y: usize,
    pub kind: RouterKind,
    pub title: String,
}

/// The curve of a link, from (x1, y1) to (x2, y2), bent towards (cx, cy).
#[derive(Debug, Serialize)]
pub struct Line {
    pub x1: usize,
    pub y1: usize,
    pub cx: i64,
    pub cy: i64,
    pub x2: usize,
    pub y2: usize,
    pub kind: LinkKind,
}

/// Lays out all of `graph`, or a sample if it has more than [`MAX_NODES`] nodes.
pub fn layout(graph: &RouteGraph) -> Layout {
    let shown: Vec<(usize, Vec<usize>)> = sample(graph).into_iter().map(|n| (n, routers(graph, n))).collect();
    let labels: Vec<String> = shown.iter().map(|(n, routers)| label(graph, *n, routers.len())).collect();

    let widest_row = shown.iter().map(|(_, routers)| routers.len().min(DOTS_IN_ROW)).max().unwrap_or(0);
    let longest_label = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
    let width = (widest_row * DOT_STEP).max(longest_label * 8).max(72) + 2 * PAD;
    let fitting = ((PAGE_WIDTH + GAP_X) / (width + GAP_X)).max(1);
    let columns = (1..).find(|c| c * c >= shown.len() * 2).unwrap_or(1).max(4).min(fitting);

    let mut out = Layout::default();
    let mut places = BTreeMap::new();
    let mut y = PAD;
    for (row, cells) in shown.chunks(columns).enumerate() {
        let dot_rows = cells.iter().map(|(_, routers)| routers.len().div_ceil(DOTS_IN_ROW)).max().unwrap_or(0).max(1);
        let height = HEAD + dot_rows * DOT_STEP + PAD / 2;
        for (column, (n, routers)) in cells.iter().enumerate() {
            let from_left = if row % 2 == 0 { column } else { columns - 1 - column };
            let x = PAD + from_left * (width + GAP_X);
            let node = &graph.nodes[*n];
            let label = labels[row * columns + column].clone();
            out.boxes.push(NodeBox { x, y, width, height, label, title: clip(&node.name, 200) });
            for (i, &r) in routers.iter().enumerate() {
                let in_row = (routers.len() - i / DOTS_IN_ROW * DOTS_IN_ROW).min(DOTS_IN_ROW);
                let left = x + (width - in_row * DOT_STEP) / 2 + DOT_STEP / 2;
                let dot_x = left + i % DOTS_IN_ROW * DOT_STEP;
                let dot_y = y + HEAD + i / DOTS_IN_ROW * DOT_STEP + DOT_STEP / 2;
                places.insert(RouterRef { node: *n, router: r }, (dot_x, dot_y));
                let router = &node.routers[r];
                out.dots.push(Dot { x: dot_x, y: dot_y, kind: router.kind, title: clip(&router.name, 80) });
            }
            out.width = out.width.max(x + width + PAD);
        }
        out.height = y + height + PAD;
        y += height + GAP_Y;
    }

    let drawn = graph.links.iter().filter_map(|link| Some((places.get(&link.a)?, places.get(&link.b)?, link.kind)));
    out.lines = drawn.take(MAX_LINKS).map(|(a, b, kind)| line(*a, *b, kind)).collect();
    out.sample = count(graph, &out);
    out
}

/// Indices of the nodes to draw, ascending: those with proxies first, then who is linked to them, then from the front.
fn sample(graph: &RouteGraph) -> Vec<usize> {
    if graph.nodes.len() <= MAX_NODES {
        return (0..graph.nodes.len()).collect();
    }
    let mut neighbours: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for link in graph.links.iter().filter(|link| graph.has(link)) {
        neighbours.entry(link.a.node).or_default().push(link.b.node);
        neighbours.entry(link.b.node).or_default().push(link.a.node);
    }
    let has_proxy = |n: &usize| graph.nodes[*n].routers.iter().any(|r| r.kind == RouterKind::Proxy);
    let mut queue: VecDeque<usize> = (0..graph.nodes.len()).filter(has_proxy).collect();
    let mut rest = 0..graph.nodes.len();
    let mut chosen = BTreeSet::new();
    while chosen.len() < MAX_NODES {
        let Some(next) = queue.pop_front().or_else(|| rest.next()) else { break };
        if chosen.insert(next) {
            queue.extend(neighbours.get(&next).into_iter().flatten());
        }
    }
    chosen.into_iter().collect()
}

/// Indices of the routers to draw in node `n`, ascending: all, or as many as fit, proxies first.
fn routers(graph: &RouteGraph, n: usize) -> Vec<usize> {
    let all = &graph.nodes[n].routers;
    let mut order: Vec<usize> = (0..all.len()).collect();
    if all.len() > MAX_ROUTERS {
        order.sort_by_key(|&r| all[r].kind != RouterKind::Proxy);
        order.truncate(MAX_ROUTERS);
        order.sort_unstable();
    }
    order
}

fn label(graph: &RouteGraph, n: usize, shown: usize) -> String {
    let node = &graph.nodes[n];
    match node.routers.len() - shown {
        0 => clip(&node.name, 22),
        more => format!("{} +{more}", clip(&node.name, 14)),
    }
}

/// A curve bent to one side, downward in a row, so that it runs through neither names nor the dots between its ends.
fn line(a: (usize, usize), b: (usize, usize), kind: LinkKind) -> Line {
    let ((x1, y1), (x2, y2)) = (a.min(b), a.max(b));
    let (dx, dy) = (x2 as i64 - x1 as i64, y2 as i64 - y1 as i64);
    let bend = |d: i64| (d / 4).clamp(-40, 40);
    let cx = (x1 + x2) as i64 / 2 - bend(dy);
    let cy = (y1 + y2) as i64 / 2 + bend(dx);
    Line { x1, y1, cx, cy, x2, y2, kind }
}

fn count(graph: &RouteGraph, drawn: &Layout) -> Sample {
    let all = || graph.nodes.iter().flat_map(|node| &node.routers);
    Sample {
        nodes: drawn.boxes.len(),
        routers: drawn.dots.len(),
        links: drawn.lines.len(),
        all_nodes: graph.nodes.len(),
        all_routers: all().count(),
        all_links: graph.links.len(),
        all_proxies: all().filter(|router| router.kind == RouterKind::Proxy).count(),
        dangling: graph.links.iter().filter(|link| !graph.has(link)).count(),
        partial: drawn.boxes.len() < graph.nodes.len() || drawn.dots.len() < all().count(),
    }
}
