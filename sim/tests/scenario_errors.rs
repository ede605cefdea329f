//! Every mistake in a scenario is refused with its line, what is wrong and what was expected there.

use ipcz_sim::scenario::{Scenario, ScenarioError};

const HEAD: &str = r#"
name = "t"
purpose = "a test"
[let]
N = 4
quiet = false
[nodes]
A = { broker = true }
B = {}
C = {}
"#;

const LINKS: &str = r#"
[links]
connect = [["B", "A", "ab"], ["C", "A", "ac"]]
"#;

const OPEN: &str = r#"
[[step]]
on = "B"
open = ["p", "q"]
"#;

fn parse(text: &str) -> ScenarioError {
    match Scenario::parse("test.toml", text, &[]) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(error) => error,
    }
}

/// `text` is refused on the line that is marked `#!`, with this message and expectation. Gives the advice.
fn refused(text: &str, message: &str, expected: &str) -> String {
    let error = parse(text);
    assert!(error.message().contains(message), "message: {error}");
    assert!(error.expected().contains(expected), "expected: {}", error.expected());
    let marked = text.lines().position(|line| line.contains("#!")).map(|at| at + 1);
    assert_eq!(Some(error.line()), marked, "{error}");
    assert_eq!(error.file(), "test.toml");
    error.advice().unwrap_or_default().to_owned()
}

#[test]
fn unknown_keys_suggest_the_nearest() {
    let advice =
        refused(&format!("{HEAD}[links]\nlatnecy = \"1ms\" #!"), "unknown key \"latnecy\"", "connect, refer, pipes, latency, jitter");
    assert_eq!(advice, "did you mean \"latency\"?");
    let advice = refused(&format!("{HEAD}[rnadom] #!\npipes = 1"), "unknown key \"rnadom\"", "random");
    assert_eq!(advice, "did you mean \"random\"?");
    let advice = refused(&format!("{HEAD}[[step]]\non = \"B\"\nopne = [\"p\", \"q\"] #!"), "unknown key \"opne\"", "open");
    assert_eq!(advice, "did you mean \"open\"?");
    refused(&format!("{HEAD}[require]\ndelivery = 1 #!"), "unknown key \"delivery\"", "delivered");
    refused(&format!("{HEAD}[zebra] #!"), "unknown key \"zebra\"", "nodes");
}

#[test]
fn unknown_nodes() {
    let advice = refused(&format!("{HEAD}[[step]]\non = \"b\" #!\nopen = [\"p\", \"q\"]"), "unknown node \"b\"", "a node of [nodes]");
    assert_eq!(advice, "did you mean \"B\"?");
    refused(&format!("{HEAD}[links]\nconnect = [[\"B\", \"Z9\", \"ab\"]] #!"), "unknown node \"Z9\"", "a node");
    refused(&format!("{HEAD}{LINKS}{OPEN}[[step]]\non=\"B\"\nhand=\"q\"\nover=\"ab\"\nto = \"D4\" #!"), "unknown node \"D4\"", "a node");
}

#[test]
fn unknown_portals() {
    let step = |body: &str| format!("{HEAD}{LINKS}{OPEN}[[step]]\non = \"B\"\n{body}");
    refused(&step("send = { count = 1, bytes = 1 }\nfrom = \"zz\" #!"), "unknown portal \"zz\"", "a portal that a step opens");
    refused(&step("hand = \"zz\" #!\nover = \"ab\"\nto = \"A\""), "unknown portal \"zz\"", "a portal");
    refused(&step("hand = \"q\"\nover = \"zz\" #!\nto = \"A\""), "unknown portal \"zz\"", "a portal");
    refused(&step("close = \"zz\" #!"), "unknown portal \"zz\"", "a portal");
    refused(&step("close = \"p\"\nafter = \"zz\" #!"), "unknown portal or step \"zz\"", "a portal, or the id of a step");
    let advice = refused(&step("hand = \"q\"\nover = \"ac\" #!\nto = \"A\""), "pipe \"ac\" has no end on \"B\"", "a portal of \"B\"");
    assert_eq!(advice, "\"ac\" is between \"C\" and \"A\"");
}

#[test]
fn malformed_times() {
    let latency = |text: &str| format!("{HEAD}[links]\nlatency = {text} #!");
    refused(&latency("\"-1ms\""), "\"-1ms\" is negative", "like \"1ms\"");
    refused(&latency("-5"), "found -5", "like \"1ms\"");
    let advice = refused(&latency("5"), "5 has no unit", "like \"1ms\"");
    assert_eq!(advice, "write \"5ms\" (or ns, us, s)");
    refused(&latency("\"5\""), "\"5\" has no unit", "ns, us, ms or s");
    refused(&latency("\"fast\""), "does not begin with a number", "a time");
    refused(&latency("\"1.5ms\""), "unknown unit \".5ms\"", "a whole number");
    refused(&latency("1.5"), "found a decimal number", "a time");
    refused(&latency("\"5min\""), "the unknown unit \"min\"", "ns, us, ms or s");
    refused(&latency("\"99999999999s\""), "overflows a 64-bit number", "a time");
    refused(&latency("\"99999999999999999999ns\""), "overflows a 64-bit number", "a time");
    refused(&format!("{HEAD}[links]\nconnect = [[\"B\", \"A\", \"ab\", {{ jitter = \"1\" }}]] #!"), "has no unit", "a time");
}

#[test]
fn malformed_sizes_and_rates() {
    refused(&format!("{HEAD}[memory]\ninline = \"2KB\" #!"), "the unknown unit \"KB\"", "B, KiB, MiB or GiB");
    refused(&format!("{HEAD}[memory]\ninline = -1 #!"), "-1 is too small", "a whole number from 0");
    refused(&format!("{HEAD}[memory]\nlink_capacity = \"99999999999GiB\" #!"), "overflows", "a size");
    let random = |text: &str| format!("{HEAD}[random]\nduration = \"1ms\"\n{text}");
    refused(&random("verbs = { open = 1 }\nrate = \"0/s\" #!"), "the rate \"0/s\" is 0", "a rate");
    refused(&random("verbs = { open = 1 }\nrate = \"2/h\" #!"), "the unknown unit \"/h\"", "like \"200/s\"");
    refused(&random("verbs = { open = 1 }\nrate = \"2000/us\" #!"), "more than one each ns", "a rate");
}

#[test]
fn malformed_random() {
    let random = |text: &str| format!("{HEAD}[random] #!\n{text}");
    refused(&random("verbs = { open = 1 }\nrate = \"1/s\""), "[random] never ends", "\"duration\" or \"operations\"");
    refused(&random("duration = \"1ms\"\nrate = \"1/s\""), "\"verbs\" is missing", "\"verbs\"");
    refused(&random("duration = \"1ms\"\nverbs = { open = 1 }"), "\"rate\" is missing", "\"rate\"");
    refused(&random("duration = \"1ms\"\nverbs = { send = 1 }\nrate = \"1/s\""), "\"send\" is missing", "\"send\"");
    let inner = |text: &str| format!("{HEAD}[random]\noperations = 5\nrate = \"1/s\"\n{text} #!");
    refused(&inner("verbs = { open = 0 }"), "no verb has a weight", "above 0");
    refused(&inner("verbs = { open = 4294967296 }"), "4294967296 is too large", "2^32");
    refused(&inner("verbs = { open = 1 }\non = [\"A\", \"D\"]"), "unknown node \"D\"", "a node");
    refused(&inner("verbs = { send = 1 }\nsend = { count = [4, 1], bytes = 0 }"), "from 4 to 1 is reversed", "min <= max");
    refused(&inner("verbs = { send = 1 }\nsend = { count = 0, bytes = 0 }"), "0 is too small", "from 1");
}

#[test]
fn malformed_faults() {
    let advice = refused(
        &format!("{HEAD}[faults]\ndrop = {{ message = \"AcceptParcels\", nth = 1 }} #!"),
        "unknown kind of message \"AcceptParcels\"",
        "wire.md",
    );
    assert_eq!(advice, "did you mean \"AcceptParcel\"?");
    refused(&format!("{HEAD}[faults]\ndrop = {{ message = \"AcceptParcel\", nth = 0 }} #!"), "0 is too small", "from 1");
}

#[test]
fn a_step_has_one_verb() {
    let step = |body: &str| format!("{HEAD}{LINKS}{OPEN}{body}");
    let advice = refused(
        &step("[[step]]\non = \"B\"\nclose = \"p\"\ncut = \"C\" #!"),
        "two verbs, \"close\" and \"cut\"",
        "exactly one of open, connect, send, get, query, hand, close, merge, cut",
    );
    assert_eq!(advice, "make two steps of it");
    refused(&step("[[step]] #!\non = \"B\""), "the step has no verb", "exactly one of");
    refused(
        &step("[[step]]\non = \"B\"\nclose = \"p\"\nfrom = \"p\" #!"),
        "\"from\" belongs to \"send\" and \"get\", not to \"close\"",
        "no \"from\"",
    );
    refused(&step("[[step]]\non = \"B\" #!\ncut = \"C\""), "a cut happens on no node", "no \"on\"");
    refused(&step("[[step]] #!\nclose = \"p\""), "\"on\" is missing", "\"on\"");
    refused(&step("[[step]] #!\non = \"B\"\nhand = \"q\"\nover = \"ab\""), "\"to\" is missing", "\"to\"");
}

#[test]
fn nodes_need_a_broker_and_names_of_their_own() {
    let file = |nodes: &str| format!("name = \"t\"\npurpose = \"a test\"\n[let]\nN = 0\n{nodes}");
    refused(&file("[nodes] #!\nA = {}"), "no node is a broker", "at least one broker");
    refused(&file("[nodes]\nA = { broker = true }\nA = {} #!"), "not TOML: duplicate key", "TOML");
    refused(&file("[nodes]\nn2 = { broker = true }\nn = { count = 3 } #!"), "there are two nodes \"n2\"", "no other node or group");
    refused(&file("[nodes]\nA = { broker = true }\nn = { count = \"{N}\" } #!"), "0 is too small", "a whole number from 1");
    refused(&file("[nodes]\nA = { broker = true }\nn = { count = 1000001 } #!"), "1000001 nodes are too many", "at most 1000000");
    refused(&file("[nodes]\n\"a b\" = { broker = true } #!"), "\"a b\" is no name", "a letter");
    refused(&file("[nodes]\nA = { broker = 1 } #!"), "found 1", "true or false");
    refused(&file("[nodes]\nA = 7 #!"), "found 7", "a table");
}

#[test]
fn links_join_clients_to_brokers() {
    let connect = |text: &str| format!("{HEAD}[links]\nconnect = [{text}] #!");
    let advice = refused(&connect("[\"C\", \"B\", \"cb\"]"), "\"B\" is no broker", "a broker");
    assert!(advice.contains("[links] pipes"), "{advice}");
    refused(&connect("[\"A\", \"A\", \"aa\"]"), "a node does not connect to itself", "another node");
    refused(&connect("[\"B\", \"A\"]"), "found 2 items", "[\"client\", \"broker\", \"pipe\"]");
    refused(&connect("[\"B\", \"A\", \"x\"], [\"C\", \"A\", \"x\"]"), "the name \"x\" is taken", "a new name");
    let pipes = |text: &str| format!("{HEAD}{LINKS}pipes = [{text}] #!");
    refused(&pipes("[\"B\", \"A\", \"x\"]"), "\"A\" is a broker", "no broker");
    refused(&pipes("[\"B\", \"B\", \"x\"]"), "the same node", "another node");
    refused(&pipes("[\"B\", \"C\", \"ab\"]"), "the name \"ab\" is taken", "a new name");
    refused(
        &format!("{HEAD}[links]\nconnect = [[\"B\", \"A\", \"ab\"]]\npipes = [[\"B\", \"C\", \"bc\"]] #!"),
        "\"B\" and \"C\" have no broker in common",
        "two clients of one broker",
    );
}

#[test]
fn portals_and_ids_are_named_once() {
    let step = |body: &str| format!("{HEAD}{LINKS}{OPEN}{body}");
    refused(&step("[[step]]\non = \"C\"\nopen = [\"q\", \"r\"] #!"), "the name \"q\" is taken", "a new name");
    refused(&step("[[step]]\non = \"C\"\nopen = [\"ab\", \"r\"] #!"), "the name \"ab\" is taken", "a new name");
    refused(
        &step("[[step]]\nid = \"x\"\non = \"B\"\nclose = \"p\"\n[[step]] #!\nid = \"x\"\non = \"B\"\nclose = \"q\""),
        "there are two steps \"x\"",
        "an id that no other step has",
    );
    refused(&step("[[step]] #!\nid = \"q\"\non = \"B\"\nclose = \"p\""), "the id of a step and the name of a portal", "another id");
}

#[test]
fn ranges_go_up() {
    let each = |text: &str| format!("{HEAD}[links]\nconnect = [\n{{ each = \"{text}\", link = [\"B\", \"A\", \"b{{i}}\"] }} #!\n]");
    refused(&each("i in 1..1"), "the range of \"i in 1..1\" is empty", "goes up");
    refused(&each("i in 1..=0"), "is empty", "goes up");
    refused(&each("i in N..1"), "is reversed: it begins at 4 and ends at 0", "goes up");
    refused(&each("i in 1..=2000000"), "is longer than 1000000", "goes up");
    refused(&each("i from 1 to 3"), "\"i from 1 to 3\" is no range", "i in 1..N");
    refused(&each("N in 1..3"), "\"N\" is already a name in [let]", "another name");
    refused(&each("i in 1..M"), "no name \"M\" in [let]; did you mean \"N\"?", "goes up");
}

#[test]
fn expressions_name_what_is_wrong() {
    let number = |text: &str| format!("{HEAD}[require]\ndelivered = {text} #!");
    refused(&number("\"{N / 0}\""), "divides by 0", "a whole number");
    refused(&number("\"{N % (N - N)}\""), "divides by 0", "a whole number");
    refused(&number("\"{9223372036854775807 + N}\""), "overflows a 64-bit number", "a whole number");
    refused(&number("\"{99999999999999999999}\""), "overflows a 64-bit number", "a whole number");
    refused(&number("\"{N - 5}\""), "-1 is too small", "a whole number from 0");
    refused(&number("\"{N +}\""), "it ends where a name or a number was expected", "a whole number");
    refused(&number("\"{(N}\""), "it ends where \")\" was expected", "a whole number");
    refused(&number("\"{N N}\""), "there is \"N\" where its end was expected", "a whole number");
    refused(&number("\"{quiet}\""), "\"quiet\" is true or false, not a number", "a whole number");
    refused(&number("\"N\""), "found \"N\"", "{N - 1}");
    refused(&number("true"), "found true", "a whole number");
    refused(&number(&format!("\"{{{}1}}\"", "(".repeat(100_000))), "levels of nesting", "a whole number");
    refused(&format!("{HEAD}[[step]]\non = \"{{N\" #!\nopen = [\"p\", \"q\"]"), "has \"{\" without \"}\"", "{expression}");
}

#[test]
fn conditions_are_over_flags() {
    let when = |text: &str| format!("{HEAD}{OPEN}when = {text} #!");
    refused(&when("\"quite\""), "no name \"quite\" in [let]; did you mean \"quiet\"?", "a condition");
    refused(&when("\"N\""), "\"N\" is a number, not true or false", "a condition");
    refused(&when("\"quiet &&\""), "it ends where", "a condition");
    refused(&when("true"), "found true", "a condition");
    let advice = refused(&format!("{HEAD}[when.quite] #!\nname = \"x\""), "\"quite\" is no flag of [let]", "true or false");
    assert_eq!(advice, "did you mean \"quiet\"?");
}

#[test]
fn a_portal_must_get_where_it_is_needed() {
    let step = |body: &str| format!("{HEAD}{LINKS}{OPEN}{body}");
    let advice = refused(
        &step("[[step]]\non = \"C\"\nsend = { count = 1, bytes = 1 }\nfrom = \"q\" #!"),
        "no step hands \"q\" to \"C\"",
        "a portal that is on \"C\"",
    );
    assert!(advice.starts_with("\"q\" is opened on \"B\""), "{advice}");
    refused(&step("[[step]]\non = \"C\"\nopen = [\"r\", \"s\"]\nafter = \"q\" #!"), "no step hands \"q\" to \"C\"", "on \"C\"");
    refused(
        &step("[[step]]\non = \"B\"\nclose = \"p\"\nafter = [{ arrived = \"q\", on = \"C\" }] #!"),
        "no step hands \"q\" to \"C\"",
        "on \"C\"",
    );
    refused(
        &step("[[step]]\non = \"B\"\nhand = \"q\"\nover = \"ab\"\nto = \"A\"\n[[step]]\non = \"B\"\nclose = \"q\" #!"),
        "no step hands \"q\" to \"B\" again",
        "on \"B\"",
    );
    refused(
        &step("[[step]]\non = \"B\"\nclose = \"q\"\n[[step]]\nid = \"late\"\non = \"B\"\nclose = \"q\" #!"),
        "step \"late\" names \"q\", which step 2 closes before",
        "a portal that is open",
    );
    refused(
        &format!("{HEAD}{LINKS}[[step]]\non = \"B\"\nclose = \"q\" #!\n{OPEN}"),
        "step 1 names \"q\" before it is opened",
        "a portal that is open",
    );
}

#[test]
fn a_hand_must_be_possible() {
    let hand = |hand: &str, over: &str, to: &str| {
        format!("{HEAD}{LINKS}{OPEN}[[step]]\non = \"B\"\n# what\nhand = \"{hand}\" # h\nover = \"{over}\" # o\nto = \"{to}\" # t\n")
    };
    refused(&hand("q", "ab", "C").replace("# t", "#!"), "the other end of \"ab\" is never on \"C\"", "the node where the other end is");
    refused(&hand("q", "q", "A").replace("# o", "#!"), "\"q\" can't travel through itself", "another portal");
    refused(&hand("ab", "q", "A").replace("# h", "#!"), "\"ab\" is a pipe made in set-up", "a portal that a step opens");
}

#[test]
fn a_wait_must_be_possible() {
    let step = |body: &str| format!("{HEAD}{LINKS}{OPEN}{body}");
    refused(
        &step(
            "[[step]]\non = \"B\"\nsend = { count = 3, bytes = 1 }\nfrom = \"p\"\n\
             [[step]]\non = \"B\"\nclose = \"q\"\nafter = { received = 4, at = \"q\" } #!",
        ),
        "\"q\" never receives 4 parcels: its peer sends 3",
        "at most 3",
    );
    let advice = refused(&step("[[step]]\ncut = \"B\"\nafter = \"q\" #!"), "a cut has no node", "the id of a step");
    assert!(advice.contains("arrived = \"q\""), "{advice}");
    refused(&step("[[step]]\ncut = [\"B\", \"B\"] #!"), "a node has no link to itself", "another node");
    refused(&step("[[step]]\ncut = 5 #!"), "found 5", "the name of a node");
}

#[test]
fn steps_that_wait_for_each_other() {
    let text = format!(
        "{HEAD}{LINKS}{OPEN}
[[step]] #!
id = \"x\"
on = \"B\"
hand = \"q\"
over = \"ab\"
to = \"A\"
after = \"r\"
[[step]]
on = \"C\"
open = [\"r\", \"s\"]
[[step]]
id = \"y\"
on = \"C\"
hand = \"r\"
over = \"ac\"
to = \"A\"
after = \"z\"
[[step]]
on = \"A\"
hand = \"r\"
over = \"ab\"
to = \"B\"
[[step]]
id = \"z\"
on = \"A\"
close = \"q\"
"
    );
    let advice = refused(
        &text,
        "in a circle: step \"x\" (line 19) -> step 5 (line 36) -> step \"y\" (line 29) -> step \"z\" (line 41) -> step \"x\"",
        "a step that can begin",
    );
    assert_eq!(
        advice.lines().collect::<Vec<_>>(),
        [
            "step \"x\" waits for step 5: it brings \"r\" to \"B\"",
            "step 5 waits for step \"y\": it brings \"r\" to \"A\"",
            "step \"y\" waits for step \"z\": \"after\" says so",
            "step \"z\" waits for step \"x\": it brings \"q\" to \"A\"",
        ]
    );
}

#[test]
fn smaller_circles() {
    let step = |body: &str| format!("{HEAD}{LINKS}{OPEN}{body}");
    refused(
        &step("[[step]] #!\nid = \"x\"\non = \"B\"\nclose = \"q\"\nafter = \"x\""),
        "in a circle: step \"x\" (line 18) -> step \"x\"",
        "a step that can begin",
    );
    let advice = refused(
        &step(
            "[[step]] #!\nid = \"x\"\non = \"B\"\nsend = { count = 1, bytes = 1 }\nfrom = \"p\"\nafter = \"y\"\n\
             [[step]]\nid = \"y\"\non = \"B\"\nclose = \"p\"",
        ),
        "step \"x\" (line 18) -> step \"y\" (line 24) -> step \"x\"",
        "a step that can begin",
    );
    assert!(advice.contains("both name \"p\", so they run in file order"), "{advice}");
    let advice = refused(
        &step(
            "[[step]] #!\nid = \"ping\"\non = \"B\"\nsend = { count = 1, bytes = 1 }\nfrom = \"p\"\nafter = { received = 1, at = \"p\" }\n\
             [[step]]\nid = \"pong\"\non = \"B\"\nsend = { count = 1, bytes = 1 }\nfrom = \"q\"\nafter = { received = 1, at = \"q\" }",
        ),
        "step \"ping\" (line 18) -> step \"pong\" (line 24) -> step \"ping\"",
        "a step that can begin",
    );
    assert!(advice.contains("it sends what \"q\" must receive"), "{advice}");
}

#[test]
fn requirements_name_pipes() {
    let direct = |text: &str| format!("{HEAD}{LINKS}{OPEN}[[step]]\non = \"C\"\nopen = [\"r\", \"s\"]\n[require]\ndirect = [{text}] #!");
    refused(&direct("[\"p\", \"x\"]"), "unknown portal \"x\"", "a portal");
    refused(&direct("[\"p\", \"r\"]"), "\"r\" is at the other end of another pipe", "\"q\"");
    refused(&direct("[\"p\"]"), "found a list", "[\"p\", \"q\"]");
    refused(&direct("[\"ab\", \"ab\"]"), "\"ab\" is a pipe made in set-up", "a portal that a step opens");
    refused(&direct("\"p\""), "\"p\" is one portal", "the name of a set-up pipe");
}

#[test]
fn what_is_missing_or_no_toml() {
    let error = parse("name = \"t\"\npurpose = \"a test\"\n");
    assert!(error.message().contains("\"nodes\" is missing"), "{error}");
    let error = parse("[nodes]\nA = { broker = true }\n");
    assert!(error.message().contains("\"name\" is missing"), "{error}");
    refused("name = \"t\"\npurpose = \"a test #!\n[nodes]", "not TOML: invalid basic string", "TOML");
}

#[test]
fn unreadable_files() {
    let error = Scenario::load(std::path::Path::new("no/such/file.toml"), &[]).expect_err("there is no such file");
    assert!(error.message().starts_with("can't read the file"), "{error}");
    assert_eq!((error.file(), error.line()), ("no/such/file.toml", 1));

    let path = std::env::temp_dir().join(format!("ipcz-scenario-{}.toml", std::process::id()));
    std::fs::write(&path, b"name = \"t\"\npurpose = \"\xff\"\n").expect("a file to test with");
    let error = Scenario::load(&path, &[]).expect_err("it is not UTF-8");
    std::fs::remove_file(&path).expect("the file is there");
    assert_eq!((error.message(), error.line()), ("the file is not UTF-8", 2));
}

#[test]
fn errors_show_the_place() {
    let text = format!("{HEAD}[links]\nlatency = \"5min\"\n");
    let report = format!("{:?}", miette::Report::new(parse(&text)));
    for part in ["test.toml:12: ", "latency = \"5min\"", "a time: a whole number"] {
        assert!(report.contains(part), "{part} is not in\n{report}");
    }
}

#[test]
fn mutilated_files_are_accepted_or_refused_with_a_place() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let mut refusals = 0;
    for name in ["abc", "canary", "both-ends-run"] {
        let text = std::fs::read_to_string(folder.join(format!("{name}.toml"))).expect("the file is there");
        let lines: Vec<&str> = text.lines().collect();
        let shorter = (0..text.len()).step_by(7).filter_map(|at| text.get(..at)).map(str::to_owned);
        let without = (0..lines.len()).map(|at| [&lines[..at], &lines[at + 1..]].concat().join("\n"));
        let swapped = (0..text.len()).filter_map(|at| Some(format!("{}}}{}", text.get(..at)?, text.get(at + 1..)?)));
        for mutant in shorter.chain(without).chain(swapped) {
            if let Err(error) = Scenario::parse("test.toml", &mutant, &[]) {
                assert!(error.line() <= mutant.lines().count().max(1) + 1, "{error}");
                assert!(!format!("{:?}", miette::Report::new(error)).contains("OutOfBounds"), "no place in\n{mutant}");
                refusals += 1;
            }
        }
    }
    assert!(refusals > 1000, "only {refusals}");
}

#[test]
fn unreadable_files_have_a_report_too() {
    let error = Scenario::load(std::path::Path::new("no/such/file.toml"), &[]).expect_err("there is no such file");
    let report = format!("{:?}", miette::Report::new(error));
    assert!(report.contains("can't read the file") && !report.contains("OutOfBounds"), "{report}");
}

#[test]
fn ways_to_put_and_get() {
    let step = |body: &str| format!("{HEAD}{LINKS}{OPEN}[[step]]\non = \"B\"\n{body}");
    refused(
        &step("send = { count = 1, bytes = 1, abort = true } #!\nfrom = \"p\""),
        "only a put in two phases can be aborted",
        "\"open\" beside it",
    );
    let advice =
        refused(&step("get = { as = \"two-fase\" } #!\nfrom = \"p\""), "nobody gets parcels \"two-fase\"", "plain, measured, two-phase");
    assert_eq!(advice, "did you mean \"two-phase\"?");
    refused(&step("get = {} #!\nfrom = \"p\""), "\"as\" is missing", "\"as\"");
    for key in ["open = \"1ms\"", "abort = 1"] {
        refused(&step(&format!("get = {{ as = \"measured\", {key} }} #!\nfrom = \"p\"")), "a measured get is over at once", "two-phase");
    }
    let missing = format!("{HEAD}{LINKS}{OPEN}[[step]] #!\non = \"B\"\nget = {{ as = \"kept\" }}");
    refused(&missing, "\"from\" is missing", "\"from\"");
    refused(&step("send = { count = 1, bytes = 1, boxes = 9 } #!\nfrom = \"p\""), "9 boxes are too many", "a number up to 8");
    refused(&step("query = \"zz\" #!"), "unknown portal \"zz\"", "a portal");
    let foreign = step("query = \"p\"\nfrom = \"p\" #!");
    refused(&foreign, "\"from\" belongs to \"send\" and \"get\", not to \"query\"", "no \"from\"");
    let late = step("close = \"p\"\n[[step]]\non = \"B\"\nget = { as = \"kept\" }\nfrom = \"p\" #!");
    refused(&late, "names \"p\", which", "a portal that is open");
}
