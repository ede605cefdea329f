use ipcz::planted::CATALOGUE;
use ipcz_sim::fault::ALL;
use ipcz_sim::policy::PolicySpec;
use ipcz_sim::run::*;
use ipcz_sim::scenario::Scenario;
use std::panic::{catch_unwind, AssertUnwindSafe};

fn violated(s: &Scenario, planted: Option<&str>, seed: u64, policy: &str) -> Option<String> {
    let options = RunOptions { seed, planted: planted.map(str::to_owned), recent: 0, policy: policy.parse::<PolicySpec>().unwrap(), length: Some(ipcz_sim::policy::Length(300)), ..RunOptions::default() };
    match catch_unwind(AssertUnwindSafe(|| run(s, &options))) {
        Ok(o) => match o.verdict { Verdict::Violated(f) => Some(format!("{}:{}", f.checker, f.property)), _ => None },
        Err(_) => Some("panic".into()),
    }
}
fn main() {
    std::panic::set_hook(Box::new(|_| ()));
    let args: Vec<String> = std::env::args().collect();
    let (file, sets, faults, bugs, seeds, policy) = (&args[1], &args[2], &args[3], &args[4], args[5].parse::<u64>().unwrap(), &args[6]);
    let strength = args.get(7).cloned().unwrap_or("chance = \"1/10\", lasts = \"5ms\"".into());
    let text = std::fs::read_to_string(file).unwrap();
    let pairs: Vec<(String, String)> = sets.split(',').filter(|s| !s.is_empty()).map(|s| { let (a, b) = s.split_once('=').unwrap(); (a.into(), b.into()) }).collect();
    let base = Scenario::parse(file, &text, &pairs).unwrap_or_else(|e| panic!("{e}"));
    let offs: Vec<u64> = CATALOGUE.iter().map(|b| if (bugs == "all" || bugs.split(',').any(|x| x == b.name)) && b.name != "trap-fires-twice" { (1..=seeds).find(|s| violated(&base, Some(b.name), *s, policy).is_some()).unwrap_or(u64::MAX) } else { 0 }).collect();
    let text = text.split("[require]").next().unwrap().to_owned();
    for about in ALL.iter().filter(|a| faults == "all" || faults.split(',').any(|x| x == a.name)) {
        let t = format!("{text}\n[faults]\n{} = {{ {strength} }}\n", about.name);
        let on = match Scenario::parse(file, &t, &pairs) { Ok(s) => s, Err(e) => { println!("{e}"); continue } };
        let clean: Vec<String> = (1..=seeds).filter_map(|s| violated(&on, None, s, policy).map(|v| format!("{s} {v}"))).collect();
        let mut found = vec![];
        for (b, off) in CATALOGUE.iter().zip(&offs) {
            if *off == 0 || *off <= 2 { continue }
            if let Some((s, v)) = (1..=seeds).find_map(|s| violated(&on, Some(b.name), s, policy).map(|v| (s, v))) {
                if s < *off { found.push(format!("{}@{s}({}) off {}", b.name, v.split(':').next().unwrap(), if *off == u64::MAX { "-".into() } else { off.to_string() })); }
            }
        }
        println!("{:20} clean {} {:?}\n     {}", about.name, clean.len(), clean.first(), found.join("; "));
    }
}
