//! From the tree to a [`Scenario`]: overrides, overlays, names, nodes, links and pipes, and what must hold at the end.

use std::collections::BTreeMap;

use ipcz::probe::Probe;

use super::error::{Place, ScenarioError, Source};
use super::names::{Nodes, Portals};
use super::read::{Let, Scope, check_keys, need, suggest};
use super::set::Override;
use super::tree::{self, Kind, Table, Value};
use super::types::{Action, LinkSpec, Memory, NodeId, PipeSpec, Require, Run, Scenario, Step};
use super::{faults, hostile, order, steps, workload};

const TOP: [&str; 16] = [
    "name", "purpose", "let", "nodes", "links", "step", "random", "swarm", "order", "faults", "hostile", "limits", "memory", "run",
    "require", "when",
];
const DEFAULT_LATENCY_NS: u64 = 1_000_000;

/// Resolves a whole file.
pub(super) fn scenario(source: &Source, sets: &[Override]) -> Result<Scenario, ScenarioError> {
    let place = Place { source: source.clone(), range: 0..0 };
    let mut root = tree::parse(source)?;
    check_keys(&root, &TOP)?;
    let scope = settle(&mut root, sets)?;
    check_keys(&root, &TOP[..TOP.len() - 1])?;

    let word = |key: &str| need(&root, key, &place).and_then(|value| scope.text(value, "a string"));
    let (name, purpose) = (word("name")?, word("purpose")?);
    let nodes = Nodes::read(need(&root, "nodes", &place)?, &scope)?;
    let mut portals = Portals::default();
    let links = Links::read(root.get("links"), &scope, &nodes, &mut portals)?;
    let drafts = steps::read(root.get("step"), &scope, &nodes, &mut portals)?;
    let random = root.get("random").map(|value| workload::random(value, &scope, &nodes)).transpose()?;
    let swarm = root.get("swarm").map(|value| workload::swarm(value, &scope)).transpose()?;
    let holds = root.get("order").map(|value| workload::order(value, &scope, &nodes)).transpose()?.unwrap_or_default();
    let (loss, faults) = root.get("faults").map(|value| faults::faults(value, &scope, &nodes)).transpose()?.unwrap_or_default();
    let hostile = root.get("hostile").map(|value| hostile::hostile(value, &scope)).transpose()?.unwrap_or_default();
    let limits = root.get("limits").map(|value| hostile::limits(value, &scope)).transpose()?.unwrap_or_default();
    let memory = root.get("memory").map(|value| memory(value, &scope)).transpose()?.unwrap_or_default();
    let steps = order::arrange(drafts, &nodes, &portals)?;
    let require = root.get("require").map(|value| require(value, &scope, &portals, &steps)).transpose()?.unwrap_or_default();
    let run = root.get("run").map(|value| run(value, &scope, &steps)).transpose()?.unwrap_or_default();
    Ok(Scenario {
        name,
        purpose,
        settings: settings(&root, &scope)?,
        nodes: nodes.specs,
        connects: links.connects,
        pipes: links.pipes,
        portals: portals.specs,
        latency_ns: links.latency_ns,
        jitter_ns: links.jitter_ns,
        brokered: links.brokered,
        steps,
        random,
        swarm,
        holds,
        loss,
        faults,
        hostile,
        limits,
        memory,
        run,
        require,
    })
}

/// Applies overrides and overlays. Overrides of names come first, since they choose the overlays; all others last, since they win.
fn settle(root: &mut Table, sets: &[Override]) -> Result<Scope, ScenarioError> {
    let mut late = Vec::new();
    for set in sets {
        if set.is_below(root, "let") {
            set.apply(root)?;
            late.push(set);
        } else if set.is_below(root, "when") {
            set.apply(root)?;
        } else {
            late.push(set);
        }
    }
    let scope = Scope::new(root.get("let"))?;
    if let Some(overlays) = root.remove("when") {
        for overlay in &overlays.table()?.entries {
            let on = match scope.lets().get(&overlay.key) {
                Some(Let::Flag(on)) => *on,
                _ => {
                    let flags = scope.lets().iter().filter(|(_, value)| matches!(value, Let::Flag(_))).map(|(name, _)| name.as_str());
                    let error = overlay.key_place.error(format!("\"{}\" is no flag of [let]", overlay.key), "a name that is true or false");
                    return Err(suggest(error, &overlay.key, flags));
                }
            };
            let over = overlay.value.table()?;
            if on {
                root.merge(over);
            }
        }
    }
    for set in late {
        set.apply(root)?;
    }
    Scope::new(root.get("let"))
}

/// What `[links]` says.
struct Links {
    latency_ns: u64,
    jitter_ns: u64,
    brokered: bool,
    connects: Vec<LinkSpec>,
    pipes: Vec<PipeSpec>,
    /// The links, in `connects`, in which each node is the client.
    of_client: Vec<Vec<usize>>,
}

impl Links {
    fn read(value: Option<&Value>, scope: &Scope, nodes: &Nodes, portals: &mut Portals) -> Result<Links, ScenarioError> {
        let of_client = vec![Vec::new(); nodes.specs.len()];
        let mut links =
            Links { latency_ns: DEFAULT_LATENCY_NS, jitter_ns: 0, brokered: false, connects: Vec::new(), pipes: Vec::new(), of_client };
        let Some(value) = value else { return Ok(links) };
        let table = value.table()?;
        check_keys(table, &["connect", "refer", "pipes", "latency", "jitter", "brokered"])?;
        if let Some(latency) = table.get("latency") {
            links.latency_ns = scope.time(latency)?;
        }
        if let Some(jitter) = table.get("jitter") {
            links.jitter_ns = scope.time(jitter)?;
        }
        if let Some(brokered) = table.get("brokered") {
            links.brokered = scope.flag_of(brokered)?;
        }
        if let Some(connect) = table.get("connect") {
            each_item(connect, "link", scope, |scope, item| links.connect(item, scope, nodes, portals, true))?;
        }
        if let Some(refer) = table.get("refer") {
            each_item(refer, "link", scope, |scope, item| links.connect(item, scope, nodes, portals, false))?;
        }
        if let Some(pipes) = table.get("pipes") {
            each_item(pipes, "pipe", scope, |scope, item| links.pipe(item, scope, nodes, portals))?;
        }
        Ok(links)
    }

    /// `["client", "broker", "pipe", { latency, jitter }]`, the last may be missing. Without a broker: the node that refers it.
    fn connect(&mut self, value: &Value, scope: &Scope, nodes: &Nodes, portals: &mut Portals, direct: bool) -> Result<(), ScenarioError> {
        const EXPECTED: &str = "[\"client\", \"broker\", \"pipe\"], and maybe { latency, jitter }";
        let items = value.list(EXPECTED)?;
        let ([client, broker, pipe], options) = match items {
            [client, broker, pipe] => ([client, broker, pipe], None),
            [client, broker, pipe, options] => ([client, broker, pipe], Some(options)),
            _ => return Err(value.place.error(format!("found {} items", items.len()), EXPECTED)),
        };
        let (mut latency_ns, mut jitter_ns) = (self.latency_ns, self.jitter_ns);
        if let Some(options) = options {
            let table = options.table()?;
            check_keys(table, &["latency", "jitter"])?;
            latency_ns = table.get("latency").map_or(Ok(latency_ns), |value| scope.time(value))?;
            jitter_ns = table.get("jitter").map_or(Ok(jitter_ns), |value| scope.time(value))?;
        }
        let (client_id, broker_id) = (nodes.find(client, scope)?, nodes.find(broker, scope)?);
        if client_id == broker_id {
            return Err(broker.place.error("a node does not connect to itself", "another node"));
        }
        if let Some(value) = [client, broker].into_iter().zip([client_id, broker_id]).find(|(_, id)| !direct && nodes.specs[*id].broker) {
            let error = value.0.place.error(format!("\"{}\" is a broker", nodes.specs[value.1].name), "two nodes that are no brokers");
            return Err(error.help("a broker is not referred, and who connects to one stands in [links] connect"));
        }
        if direct && !nodes.specs[broker_id].broker {
            let name = &nodes.specs[broker_id].name;
            let error = broker.place.error(format!("\"{name}\" is no broker, so it has no clients"), "a broker");
            return Err(error.help(format!("give it {{ broker = true }} in [nodes], or use [links] pipes for a pipe to \"{name}\"")));
        }
        let name = scope.text(pipe, "the name of a pipe")?;
        let ends = portals.pipe(&name, [client_id, broker_id], &pipe.place)?;
        if direct {
            self.of_client[client_id].push(self.connects.len());
        }
        self.connects.push(LinkSpec { client: client_id, broker: broker_id, pipe: name, ends, latency_ns, jitter_ns });
        Ok(())
    }

    /// `["a", "b", "pipe"]`.
    fn pipe(&mut self, value: &Value, scope: &Scope, nodes: &Nodes, portals: &mut Portals) -> Result<(), ScenarioError> {
        const EXPECTED: &str = "[\"node\", \"other node\", \"pipe\"]";
        let [first, second, name] = value.list(EXPECTED)? else { return Err(value.unexpected(EXPECTED)) };
        let (a, b) = (nodes.find(first, scope)?, nodes.find(second, scope)?);
        if a == b {
            return Err(second.place.error("both ends of the pipe are on the same node", "another node"));
        }
        for (node, value) in [(a, first), (b, second)] {
            if nodes.specs[node].broker {
                let error = value.place.error(format!("\"{}\" is a broker", nodes.specs[node].name), "a node that is no broker");
                return Err(error.help("its clients have a pipe to it from [links] connect"));
            }
        }
        let Some(([link_a, link_b], broker)) = self.shared_broker(a, b) else {
            let (a, b) = (&nodes.specs[a].name, &nodes.specs[b].name);
            let error = value.place.error(format!("\"{a}\" and \"{b}\" have no broker in common"), "two clients of one broker");
            return Err(error.help("their broker opens the pipe: connect both to it in [links] connect"));
        };
        let text = scope.text(name, "the name of a pipe")?;
        let ends = portals.pipe(&text, [a, b], &name.place)?;
        self.pipes.push(PipeSpec { name: text, a, b, broker, links: [link_a, link_b], ends });
        Ok(())
    }

    /// The links by which `a` and `b` reach the first broker that both are clients of, and that broker.
    fn shared_broker(&self, a: NodeId, b: NodeId) -> Option<([usize; 2], NodeId)> {
        self.of_client[a].iter().find_map(|&at_a| {
            let broker = self.connects[at_a].broker;
            let at_b = self.of_client[b].iter().find(|&&at_b| self.connects[at_b].broker == broker)?;
            Some(([at_a, *at_b], broker))
        })
    }
}

/// Runs `body` for every item of a list, in which `{ each, when, <key> = item }` stands for many or none.
fn each_item(
    list: &Value,
    key: &str,
    scope: &Scope,
    mut body: impl FnMut(&Scope, &Value) -> Result<(), ScenarioError>,
) -> Result<(), ScenarioError> {
    for item in list.list("a list")? {
        let Kind::Table(table) = &item.kind else {
            body(scope, item)?;
            continue;
        };
        check_keys(table, &["each", "when", key])?;
        let inner = need(table, key, &item.place)?;
        if scope.stands(table.get("when"))? {
            scope.repeat(table.get("each"), |scope| body(scope, inner))?;
        }
    }
    Ok(())
}

fn memory(value: &Value, scope: &Scope) -> Result<Memory, ScenarioError> {
    let table = value.table()?;
    check_keys(table, &["inline", "link_capacity"])?;
    let size = |key| table.get(key).map(|value| scope.size(value)).transpose();
    Ok(Memory { inline: size("inline")?, link_capacity: size("link_capacity")? })
}

fn run(value: &Value, scope: &Scope, steps: &[Step]) -> Result<Run, ScenarioError> {
    let table = value.table()?;
    check_keys(table, &["settle", "fine", "partial"])?;
    let settle = table.get("settle").map(|value| scope.number(value, 1)).transpose()?;
    let fine = table.get("fine").map(|value| {
        let id = scope.text(value, "the id of a step")?;
        if steps.iter().any(|step| step.id == id) {
            return Ok(id);
        }
        Err(value.place.error(format!("no step has the id \"{id}\""), "the id of a step, at which depth L1 begins"))
    });
    let partial = table.get("partial").map_or(Ok(false), |value| scope.flag(value))?;
    Ok(Run { settle, partial, fine: fine.transpose()? })
}

fn require(value: &Value, scope: &Scope, portals: &Portals, steps: &[Step]) -> Result<Require, ScenarioError> {
    const PROBE: &str = "the name of a probe, or [name, how often]";
    const PAIR: &str = "[\"p\", \"q\"], the two portals of a pipe, or the name of a set-up pipe";
    const KEYS: [&str; 11] = [
        "faults",
        "lies",
        "direct",
        "delivered",
        "bypasses",
        "proxies_peak",
        "forwarded",
        "introductions",
        "closed",
        "messages_max",
        "probes",
    ];
    let table = value.table()?;
    check_keys(table, &KEYS)?;
    let count = |key| table.get(key).map(|value| scope.number(value, 0)).transpose();
    let mut require = Require {
        direct: Vec::new(),
        delivered: count("delivered")?,
        bypasses: count("bypasses")?,
        proxies_peak: count("proxies_peak")?,
        forwarded: count("forwarded")?,
        introductions: count("introductions")?,
        closed: count("closed")?,
        messages_max: count("messages_max")?,
        faults: table.get("faults").map_or(Ok(Vec::new()), |value| faults::required(value, scope))?,
        lies: table.get("lies").map_or(Ok(Vec::new()), |value| hostile::required(value, scope))?,
        probes: Vec::new(),
    };
    if let Some(direct) = table.get("direct") {
        let merged = |step: &Step| match step.action {
            Action::Merge { portals } => Some(portals),
            _ => None,
        };
        let merges: Vec<_> = steps.iter().filter_map(merged).collect();
        each_item(direct, "pair", scope, |scope, item| {
            let pair = match &item.kind {
                Kind::List(ends) => {
                    let [first, second] = ends.as_slice() else { return Err(item.unexpected(PAIR)) };
                    let pair = [portals.opened(first, scope)?, portals.opened(second, scope)?];
                    let peers = order::peers(&portals.specs, &merges, pair[0]);
                    if !peers.contains(&pair[1]) {
                        let names: Vec<String> = peers.iter().map(|peer| format!("\"{}\"", portals.specs[*peer].name)).collect();
                        let message = format!("{} is at the other end of another pipe", second.describe());
                        let error = second.place.error(message, names.join(" or "));
                        return Err(error);
                    }
                    pair
                }
                _ => portals.set_up(item, scope, PAIR)?,
            };
            require.direct.push(pair);
            Ok(())
        })?;
    }
    if let Some(probes) = table.get("probes") {
        each_item(probes, "probe", scope, |scope, item| {
            let (name, count) = match &item.kind {
                Kind::List(items) => match items.as_slice() {
                    [name, count] => (name, scope.number(count, 1)?),
                    _ => return Err(item.unexpected(PROBE)),
                },
                _ => (item, 1),
            };
            let text = scope.text(name, PROBE)?;
            let probe = Probe::named(&text).ok_or_else(|| {
                let error = name.place.error(format!("no probe is called \"{text}\""), "one of those that `ipcz-sim probes` names");
                suggest(error, &text, Probe::ALL.iter().map(|probe| probe.name()))
            })?;
            require.probes.push((probe, count));
            Ok(())
        })?;
    }
    Ok(require)
}

/// Every setting but steps and lists, resolved.
fn settings(root: &Table, scope: &Scope) -> Result<BTreeMap<String, String>, ScenarioError> {
    let mut settings = BTreeMap::new();
    for entry in &root.entries {
        if !["name", "purpose", "step"].contains(&entry.key.as_str()) {
            setting(&entry.key, &entry.value, scope, &mut settings)?;
        }
    }
    Ok(settings)
}

fn setting(path: &str, value: &Value, scope: &Scope, settings: &mut BTreeMap<String, String>) -> Result<(), ScenarioError> {
    let resolved = match &value.kind {
        Kind::Table(table) => {
            return table.entries.iter().try_for_each(|entry| setting(&format!("{path}.{}", entry.key), &entry.value, scope, settings));
        }
        Kind::List(_) | Kind::Foreign(_) => return Ok(()),
        Kind::Text(_) => scope.text(value, "a string")?,
        Kind::Flag(flag) => flag.to_string(),
        Kind::Number(number) => number.to_string(),
    };
    settings.insert(path.to_owned(), resolved);
    Ok(())
}
