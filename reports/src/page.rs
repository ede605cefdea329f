//! The page: what of a report is shown, and the templates that show it.

use minijinja::{Environment, value::Serde};
use serde::Serialize;

use crate::format;
use crate::layout::{Layout, layout};
use crate::record::{Checker, Count, Demand, Failure, Report, Requirement, RouteGraph, Run, SeedResult, Sweep};

/// Most rows of a sweep's table.
const MAX_RESULTS: usize = 200;
/// Length of the longest bar, in units of its drawing.
const MAX_BAR: u128 = 200;
/// Most messages shown up to and with the violating one, and after it.
const MESSAGES_BEFORE: usize = 200;
const MESSAGES_AFTER: usize = 50;
/// Most characters of a message's line.
const MAX_LINE: usize = 300;
/// Most characters of a node's name beside a message.
const MAX_NAME: usize = 60;
/// Longest DOT text on a page, in bytes.
const MAX_DOT: usize = 192 * 1024;

/// The page could not be written.
#[derive(Debug)]
pub struct ReportError(minijinja::Error);

impl std::fmt::Display for ReportError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the report page cannot be rendered: {}", self.0)
    }
}

impl std::error::Error for ReportError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

impl From<minijinja::Error> for ReportError {
    fn from(error: minijinja::Error) -> ReportError {
        ReportError(error)
    }
}

/// `report` as one HTML page that needs nothing else: no network, no script, no other file. The same report gives the
/// same bytes.
pub fn html(report: &Report) -> Result<String, ReportError> {
    let mut env = Environment::new();
    env.add_filter("number", format::number);
    env.add_filter("plural", format::plural);
    env.add_filter("time", format::time);
    env.add_filter("measured", format::measured);
    env.add_filter("bytes", format::bytes);
    env.add_template("page.html", include_str!("../templates/page.html"))?;
    env.add_template("results.html", include_str!("../templates/results.html"))?;
    env.add_template("graph.html", include_str!("../templates/graph.html"))?;
    env.add_template("style.css", include_str!("../templates/style.css"))?;

    Ok(env.get_template("page.html")?.render(Serde(Page::of(report)))?)
}

/// What the templates read.
#[derive(Serialize)]
struct Page<'a> {
    sentence: String,
    verdict: &'static str,
    run: &'a Run,
    failure: Option<FailureView<'a>>,
    checkers: &'a [Checker],
    results: Vec<ResultRow<'a>>,
    hidden_results: u64,
    sweep: Option<&'a Sweep>,
    messages: Vec<Bar<'a>>,
    sent: u64,
    requirements: Vec<RequirementRow<'a>>,
    graph: Option<Graph>,
}

impl Page<'_> {
    fn of(report: &Report) -> Page<'_> {
        let results = results(report);
        let all = report.sweep.as_ref().map_or(0, |sweep| sweep.seeds).max(report.results.len() as u64);
        Page {
            sentence: report.sentence(),
            verdict: report.verdict().name(),
            run: &report.run,
            failure: report.failure.as_ref().map(failure),
            checkers: &report.checkers,
            hidden_results: all - results.len() as u64,
            results,
            sweep: report.sweep.as_ref(),
            messages: bars(&report.messages),
            sent: report.messages.iter().fold(0, |sum, kind| sum.saturating_add(kind.count)),
            requirements: report.requirements.iter().map(requirement).collect(),
            graph: report.graph.as_ref().map(Graph::of),
        }
    }
}

/// A count and the length of its bar.
#[derive(Serialize)]
struct Bar<'a> {
    name: &'a str,
    count: u64,
    bar: u64,
}

fn bars(counts: &[Count]) -> Vec<Bar<'_>> {
    let most = counts.iter().map(|kind| kind.count).max().unwrap_or(0).max(1);
    let length = |count| (u128::from(count) * MAX_BAR / u128::from(most)) as u64;
    counts.iter().map(|kind| Bar { name: &kind.name, count: kind.count, bar: length(kind.count) }).collect()
}

#[derive(Serialize)]
struct RequirementRow<'a> {
    name: &'a str,
    demanded: String,
    reached: u64,
    met: bool,
}

fn requirement(r: &Requirement) -> RequirementRow<'_> {
    RequirementRow { name: &r.name, demanded: demanded(r.demanded), reached: r.reached, met: r.met() }
}

fn demanded(demand: Demand) -> String {
    match demand {
        Demand::AtLeast(n) => format!("at least {}", format::number(n)),
        Demand::AtMost(n) => format!("at most {}", format::number(n)),
        Demand::Exactly(n) => format!("exactly {}", format::number(n)),
    }
}

#[derive(Serialize)]
struct ResultRow<'a> {
    #[serde(flatten)]
    result: &'a SeedResult,
    rate: Option<u64>,
}

/// The rows to show: all, or the first ones with failed seeds before held ones.
fn results(report: &Report) -> Vec<ResultRow<'_>> {
    let mut rows: Vec<&SeedResult> = report.results.iter().collect();
    rows.sort_by_key(|result| result.held);
    rows.truncate(MAX_RESULTS);
    rows.into_iter().map(|result| ResultRow { result, rate: format::rate(result.events, result.wall_ns) }).collect()
}

#[derive(Serialize)]
struct FailureView<'a> {
    property: &'a str,
    place: &'a str,
    detail: &'a str,
    virtual_ns: u64,
    seed: u64,
    step: u64,
    replay: &'a str,
    messages: Vec<MessageRow>,
    all_messages: usize,
    /// Whether one of `messages` is the violating one.
    marked: bool,
}

#[derive(Serialize)]
struct MessageRow {
    virtual_ns: u64,
    from: String,
    to: String,
    text: String,
    violating: bool,
}

fn failure(f: &Failure) -> FailureView<'_> {
    let centre = f.violation.unwrap_or(usize::MAX).min(f.messages.len().saturating_sub(1));
    let first = (centre + 1).saturating_sub(MESSAGES_BEFORE);
    let messages = f.messages.iter().enumerate().skip(first).take(centre + 1 - first + MESSAGES_AFTER);
    FailureView {
        property: &f.property,
        place: &f.place,
        detail: &f.detail,
        virtual_ns: f.virtual_ns,
        seed: f.seed,
        step: f.step,
        replay: &f.replay,
        messages: messages
            .map(|(i, m)| MessageRow {
                virtual_ns: m.virtual_ns,
                from: format::clip(&m.from, MAX_NAME),
                to: format::clip(&m.to, MAX_NAME),
                text: format::clip(&m.text, MAX_LINE),
                violating: f.violation == Some(i),
            })
            .collect(),
        all_messages: f.messages.len(),
        marked: f.violation.is_some_and(|i| i < f.messages.len()),
    }
}

#[derive(Serialize)]
struct Graph {
    drawing: Layout,
    /// `None` if it is too long for a page.
    dot: Option<String>,
}

impl Graph {
    fn of(graph: &RouteGraph) -> Graph {
        Graph { drawing: layout(graph), dot: Some(crate::dot(graph)).filter(|dot| dot.len() <= MAX_DOT) }
    }
}
