//! A script as a scenario file, and as a test.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::script::{Place, Script, Verb};
use super::{Signature, Way};
use crate::events::Hold;
use crate::fault::Strength;
use crate::ghost::EndId;
use crate::hostile::Lies;
use crate::policy::PolicySpec;
use crate::scenario::Caps;
use crate::world::Looseness;

/// Pairs of letters for the ends of opened pipes.
const STEMS: [[&str; 2]; 4] = [["p", "q"], ["s", "t"], ["x", "y"], ["one_", "other_"]];

/// Names for everything in a script.
struct Names<'a> {
    script: &'a Script,
    nodes: Vec<String>,
    opened: Vec<usize>,
    stem: [&'static str; 2],
}

impl<'a> Names<'a> {
    fn of(script: &'a Script) -> Names<'a> {
        let opened: Vec<usize> =
            script.ops.iter().filter_map(|op| if let Verb::Open { pipe, .. } = op.verb { Some(pipe) } else { None }).collect();
        let connects = script.connects().map(|at| script.base.connects[at].pipe.as_str());
        let taken: BTreeSet<&str> = connects.chain(script.known.values().map(|known| known.name.as_str())).collect();
        let free = |stem: &[&str; 2]| !stem.iter().any(|letter| taken.iter().any(|name| name.starts_with(letter)));
        let stem = STEMS.into_iter().find(free).unwrap_or(["opened_p", "opened_q"]);
        Names { script, nodes: script.base.nodes.iter().map(|node| node.name.clone()).collect(), opened, stem }
    }

    fn portal(&self, end: EndId) -> String {
        let script = self.script;
        if let Some(link) = script.base.connects.get(end.pipe()) {
            return link.pipe.clone();
        }
        if let Some(known) = script.known.get(&end.pipe()) {
            return known.name.clone();
        }
        let stem = self.stem[usize::from(!end.is_first())];
        match self.opened.iter().position(|pipe| *pipe == end.pipe()) {
            Some(_) if self.opened.len() == 1 => stem.to_owned(),
            Some(at) => format!("{stem}{}", at + 1),
            None => stem.to_owned(),
        }
    }
}

fn time(ns: u64) -> String {
    let (unit, each) = [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000)]
        .into_iter()
        .find(|(_, each)| ns.is_multiple_of(*each))
        .unwrap_or(("ns", 1));
    if ns == 0 { "0us".to_owned() } else { format!("{}{unit}", ns / each) }
}

/// The scenario file, with these order constraints.
pub fn toml(script: &Script, holds: &[Hold], purpose: &str) -> String {
    let names = Names::of(script);
    let node = |at: usize| names.nodes[at].as_str();
    let mut out = format!("name = \"{}\"\npurpose = \"{purpose}\"\n", script.base.name);
    let steps: Vec<String> = script
        .ops
        .iter()
        .zip(script.places())
        .filter_map(|(op, place)| {
            let Place { on, to } = place?;
            let verb = match &op.verb {
                Verb::Open { pipe, .. } => {
                    let [p, q] = [0, 1].map(|side| names.portal(EndId(2 * *pipe as u32 + side)));
                    format!("open = [\"{p}\", \"{q}\"]")
                }
                Verb::Send { end, count, bytes, boxes } => {
                    let boxes = if *boxes > 0 { format!(", boxes = {boxes}") } else { String::new() };
                    format!("send = {{ count = {count}, bytes = {bytes}{boxes} }}, from = \"{}\"", names.portal(*end))
                }
                Verb::Hand { end, over, .. } => {
                    format!("hand = \"{}\", over = \"{}\", to = \"{}\"", names.portal(*end), names.portal(*over), node(to?))
                }
                Verb::Close { end } => format!("close = \"{}\"", names.portal(*end)),
                Verb::Merge { end, with } => format!("merge = [\"{}\", \"{}\"]", names.portal(*end), names.portal(*with)),
                Verb::CutLink { nodes: [a, b] } => format!("cut = [\"{}\", \"{}\"]", node(*a), node(*b)),
                Verb::CutNode { node: at } => format!("cut = \"{}\"", node(*at)),
            };
            let on = on.map(|on| format!("on = \"{}\", ", node(on))).unwrap_or_default();
            let at = if op.at_ns > 0 { format!(", at = \"{}\"", time(op.at_ns)) } else { String::new() };
            Some(format!("{{ {on}{verb}{at} }}"))
        })
        .collect();
    list(&mut out, "step", &steps);
    let holds: Vec<String> = known(script, holds)
        .map(|hold| format!("{{ before = \"{}\", after = \"{}\" }}", hold.before.text(&names.nodes), hold.after.text(&names.nodes)))
        .collect();
    list(&mut out, "order", &holds);
    out += "\n[nodes]\n";
    for at in &script.nodes {
        let spec = &script.base.nodes[*at];
        let broker = spec.broker.then_some("broker = true");
        let loose = match spec.loose {
            Some(Looseness::Threads) => Some("loose = true"),
            Some(Looseness::Early) => Some("loose = \"early\""),
            None => None,
        };
        let others = [(spec.delegate, "delegate = true"), (spec.mem_v2, "mem_v2 = true"), (spec.hostile, "hostile = true")];
        let others = others.into_iter().filter(|(has, _)| *has).map(|(_, key)| key);
        let keys = broker.into_iter().chain(loose).chain(others).collect::<Vec<_>>().join(", ");
        let _ = if keys.is_empty() { writeln!(out, "{} = {{}}", spec.name) } else { writeln!(out, "{} = {{ {keys} }}", spec.name) };
    }
    out += "\n[links]\n";
    let others = script.base.connects.len();
    let text = |direct: bool| -> Vec<String> {
        let kind = |at: &usize| script.base.nodes[script.base.connects[*at].broker].broker == direct;
        let links = script.connects().filter(kind).map(|at| {
            let link = &script.base.connects[at];
            let (latency, jitter) = (script.latencies[at], script.jitters[at]);
            let own = if (latency, jitter) == (script.latencies[others], script.jitters[others]) {
                String::new()
            } else {
                format!(", {{ latency = \"{}\", jitter = \"{}\" }}", time(latency), time(jitter))
            };
            format!("[\"{}\", \"{}\", \"{}\"{own}]", node(link.client), node(link.broker), link.pipe)
        });
        links.collect()
    };
    let _ = writeln!(out, "connect = [{}]", text(true).join(", "));
    let referred = text(false);
    if !referred.is_empty() {
        let _ = writeln!(out, "refer = [{}]", referred.join(", "));
    }
    let pipes: Vec<String> = script
        .known
        .values()
        .map(|known| format!("[\"{}\", \"{}\", \"{}\"]", node(known.nodes[0]), node(known.nodes[1]), known.name))
        .collect();
    if !pipes.is_empty() {
        let _ = writeln!(out, "pipes = [{}]", pipes.join(", "));
    }
    for (key, ns, usual) in [("latency", script.latencies[others], 1_000_000), ("jitter", script.jitters[others], 0)] {
        if ns != usual {
            let _ = writeln!(out, "{key} = \"{}\"", time(ns));
        }
    }
    if script.base.brokered {
        out += "brokered = true\n";
    }
    let numbers = |pairs: [(&str, Option<u64>); 2]| -> String {
        pairs.iter().filter_map(|(key, value)| value.map(|value| format!("{key} = {value}\n"))).collect()
    };
    let memory = numbers([("inline", script.inline), ("link_capacity", script.link_capacity)]);
    if !memory.is_empty() {
        let _ = write!(out, "\n[memory]\n{memory}");
    }
    out += &hostility(script);
    let run = numbers([("settle", script.settle), ("", None)]);
    if !run.is_empty() || script.partial {
        let _ = write!(out, "\n[run]\n{run}{}", if script.partial { "partial = true\n" } else { "" });
    }
    let loss = script.base.loss.as_ref().filter(|_| script.drop);
    if loss.is_some() || !script.faults.is_empty() {
        out += "\n[faults]\n";
    }
    if let Some(loss) = loss {
        let _ = writeln!(out, "drop = {{ message = \"{}\", nth = {} }}", loss.message, loss.nth);
    }
    for (fault, Strength { chance: [of, all], nth, lasts_ns, most }) in &script.faults {
        let when = match nth {
            Some((on, nth)) => format!("nth = {nth}, on = \"{}\"", node(*on as usize)),
            None => format!("chance = \"{of}/{all}\""),
        };
        let most = if *most == u64::MAX || nth.is_some() { String::new() } else { format!(", most = {most}") };
        let _ = writeln!(out, "{} = {{ {when}, lasts = \"{}\"{most} }}", fault.name(), time(*lasts_ns));
    }
    out
}

/// What hostile nodes do, and the limits of all, if any is left.
fn hostility(script: &Script) -> String {
    let (Lies { chance: [of, all], most, lies, returns }, caps) = (&script.base.hostile, &script.base.limits);
    let mut out = String::new();
    if script.nodes.iter().any(|node| script.base.nodes[*node].hostile) {
        let lies: Vec<String> = lies.iter().map(|lie| format!("\"{}\"", lie.name())).collect();
        let _ = writeln!(out, "\n[hostile]\nchance = \"{of}/{all}\"\nmost = {most}\nreturns = {returns}\nlies = [{}]", lies.join(", "));
    }
    let Caps { early_parcels, early_bytes, buffer_waits, buffers, sublinks, introductions } = *caps;
    let limits = [
        ("early_parcels", early_parcels),
        ("early_bytes", early_bytes),
        ("buffer_waits", buffer_waits),
        ("buffers", buffers),
        ("sublinks", sublinks),
        ("introductions", introductions),
    ];
    let limits: String = limits.iter().filter_map(|(key, value)| value.map(|value| format!("{key} = {value}\n"))).collect();
    if !limits.is_empty() {
        let _ = write!(out, "\n[limits]\n{limits}");
    }
    out
}

/// Those of `holds` that are about nodes that are left.
fn known<'a>(script: &'a Script, holds: &'a [Hold]) -> impl Iterator<Item = &'a Hold> {
    let left = |node: u32| node == u32::MAX || script.nodes.contains(&(node as usize));
    holds.iter().filter(move |hold| [hold.before, hold.after].iter().all(|event| left(event.from) && left(event.to)))
}

fn list(out: &mut String, key: &str, lines: &[String]) {
    if !lines.is_empty() {
        let _ = write!(out, "\n{key} = [\n{}]\n", lines.iter().map(|line| format!("  {line},\n")).collect::<String>());
    }
}

/// A test of that scenario: with a planted bug it must fail with it and hold without, else it must hold.
pub fn test(toml: &str, signature: &Signature, way: &Way, planted: Option<&str>, name: &str) -> String {
    let mut options = String::new();
    // With order constraints it is `fifo` anyway.
    if way.policy != PolicySpec::Timed && way.holds.is_empty() {
        let _ = write!(options, "policy: \"{}\".parse().unwrap(), ", way.policy);
    }
    if let Some(fine) = &way.fine {
        let spec = fine.spec.as_ref().map(|spec| format!("spec: Some(\"{spec}\".parse().unwrap()), ")).unwrap_or_default();
        let _ = write!(options, "fine: Some(ipcz_sim::fine::Fine {{ {spec}..ipcz_sim::fine::Fine::default() }}), ");
    }
    let seed = way.seed;
    let call = format!("RunOptions {{ seed: {seed}, planted, {options}..RunOptions::default() }}");
    let expect = match planted {
        Some(bug) => format!(
            "    let Verdict::Violated(failure) = outcome(Some(\"{bug}\".to_owned())) else {{ panic!(\"the planted bug is not seen\") }};\n    \
             assert_eq!((failure.property, failure.checker), ({:?}, {:?}));\n    \
             let without = outcome(None);\n    assert!(!matches!(without, Verdict::Violated(_)), \"{{without:?}}\");\n",
            signature.property, signature.checker
        ),
        None => "    let verdict = outcome(None);\n    assert!(!matches!(verdict, Verdict::Violated(_)), \"{verdict:?}\");\n".to_owned(),
    };
    format!(
        "use ipcz_sim::run::{{RunOptions, Verdict, run}};\nuse ipcz_sim::scenario::Scenario;\n\n#[test]\nfn {name}() {{\n    \
         let text = r#\"{toml}\"#;\n    let scenario = Scenario::parse(\"{name}\", text, &[]).unwrap();\n    \
         let outcome = |planted: Option<String>| run(&scenario, &{call}).verdict;\n{expect}}}\n"
    )
}
