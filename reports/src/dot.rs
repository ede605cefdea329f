//! The route graph as DOT text, for whoever has Graphviz.

use std::fmt::Write;

use crate::record::{LinkKind, RouteGraph, RouterKind};

/// `graph` in the DOT language: a cluster a node, routers as points in it, links by kind. Names are quoted; a link that
/// names a router the graph has not is left out.
pub fn dot(graph: &RouteGraph) -> String {
    let mut out = String::from("graph routes {\n  node [shape=circle, fontsize=9];\n");
    for (n, node) in graph.nodes.iter().enumerate() {
        line(&mut out, format_args!("  subgraph cluster_{n} {{ label={};", quoted(&node.name)));
        for (r, router) in node.routers.iter().enumerate() {
            let shape = match router.kind {
                RouterKind::Terminal => "",
                RouterKind::Proxy => ", shape=doublecircle",
                RouterKind::Bridge => ", shape=diamond",
            };
            line(&mut out, format_args!("    n{n}r{r} [label={}{shape}];", quoted(&router.name)));
        }
        out.push_str("  }\n");
    }
    for link in graph.links.iter().filter(|link| graph.has(link)) {
        let style = match link.kind {
            LinkKind::Central => "penwidth=3",
            LinkKind::Peripheral => "penwidth=1",
            LinkKind::Decaying => "style=dashed",
            LinkKind::Local => "color=gray",
        };
        let (a, b) = (link.a, link.b);
        line(&mut out, format_args!("  n{}r{} -- n{}r{} [{style}];", a.node, a.router, b.node, b.router));
    }
    out.push_str("}\n");
    out
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{text}");
}

/// A DOT string: quotes and backslashes escaped, line breaks as their escape.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
