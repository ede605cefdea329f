//! Programs over the Unix driver, each in a process of its own: a broker that starts its clients, and what it tells them
//! to do. Used by the tests and by the example `abc_processes`.
#![allow(dead_code, reason = "each of them uses a part")]

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use ipcz::clock::Clock;
use ipcz::ids::{Handle, NodeType};
use ipcz::inspect::{LinkKind, LinkView};
use ipcz::trap::{TrapConditions, TrapEvent, TrapFlags, TrapTarget};
use ipcz::{ConnectTo, Error, NodeOptions, Process, Received, TrapRefused};
use ipcz_drivers::{MonotonicClock, UnixDriver, unix};

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A failure in words.
pub type Outcome<T> = Result<T, String>;

/// Wakes whoever waits for a trap.
#[derive(Default)]
struct Bell {
    fired: Mutex<BTreeSet<u64>>,
    rung: Condvar,
}

impl TrapTarget for Bell {
    fn fired(&self, event: &TrapEvent) {
        self.fired.lock().unwrap().insert(event.context);
        self.rung.notify_all();
    }
}

/// A process with one node.
pub struct Program {
    pub process: Arc<Process>,
    pub node: Handle,
    pub driver: Arc<UnixDriver>,
    pub clock: Arc<MonotonicClock>,
    bell: Arc<Bell>,
    waits: Mutex<u64>,
}

impl Program {
    pub fn new(kind: NodeType) -> Program {
        Program::with(kind, UnixDriver::new().unwrap(), NodeOptions::default())
    }

    pub fn with(kind: NodeType, driver: Arc<UnixDriver>, options: NodeOptions) -> Program {
        let bell = Arc::new(Bell::default());
        let clock = Arc::new(MonotonicClock::new());
        let process = Process::new(clock.clone(), bell.clone());
        let node = process.create_node(kind, driver.clone(), options).unwrap();
        Program { process, node, driver, clock, bell, waits: Mutex::new(0) }
    }

    /// Connects to the broker that started this process.
    pub fn join_broker(&self, socket: OwnedFd) -> Handle {
        let transport = self.driver.adopt(socket).unwrap();
        self.process.connect_node(self.node, transport, 1, ConnectTo::Broker).unwrap()[0]
    }

    /// Starts a client and connects to it.
    pub fn start(&self, command: Command, tell: impl FnOnce(&mut Command, i32)) -> (Child, Handle) {
        let [ours, theirs] = UnixDriver::socket_pair().unwrap();
        let child = unix::spawn(command, theirs, tell).unwrap();
        let transport = self.driver.adopt(ours).unwrap();
        (child, self.process.connect_node(self.node, transport, 1, ConnectTo::Normal).unwrap()[0])
    }

    /// The next parcel, as soon as there is one.
    pub fn get(&self, portal: Handle) -> Result<Received, Error> {
        loop {
            match self.process.get(portal) {
                Err(Error::Unavailable) => {}
                other => return other,
            }
            let context = {
                let mut waits = self.waits.lock().unwrap();
                *waits += 1;
                *waits
            };
            let flags = TrapFlags::ABOVE_MIN_PARCELS.or(TrapFlags::DEAD);
            match self.process.trap(portal, TrapConditions { flags, ..TrapConditions::default() }, context) {
                Ok(()) => {}
                Err(TrapRefused::Satisfied { .. }) => continue,
                Err(TrapRefused::Error(error)) => return Err(error),
            }
            let fired = self.bell.fired.lock().unwrap();
            let (mut fired, late) = self.bell.rung.wait_timeout_while(fired, PATIENCE, |fired| !fired.contains(&context)).unwrap();
            assert!(!late.timed_out(), "nothing came in {PATIENCE:?}");
            fired.remove(&context);
        }
    }

    pub fn put(&self, portal: Handle, data: &[u8], handles: &[Handle]) -> Outcome<()> {
        self.process.put(portal, data, handles).map_err(|error| format!("put: {error}"))
    }

    /// Puts, and gets the answer.
    pub fn ask(&self, portal: Handle, data: &[u8], handles: &[Handle]) -> Outcome<Vec<u8>> {
        self.put(portal, data, handles)?;
        Ok(self.get(portal).map_err(|error| format!("no answer to {} bytes: {error}", data.len()))?.data)
    }

    /// Whether a portal's route is one link from here to its peer's node.
    pub fn is_direct(&self, portal: Handle) -> bool {
        self.process.inspect(|view| {
            let Some(out) = view.router_of(portal).and_then(|key| view.router(key)).map(|router| router.out) else { return false };
            let central = |link| matches!(link, LinkView::Remote { kind: LinkKind::Central, status: Some(0x03), .. });
            out.decaying.is_none() && out.primary.is_some_and(central)
        })
    }

    /// Whether a portal's link leads to a node that is no broker.
    pub fn leads_to_a_client(&self, portal: Handle) -> bool {
        self.process.inspect(|view| {
            let Some(LinkView::Remote { link, .. }) = view.router_of(portal).and_then(|key| view.router(key)?.out.primary) else {
                return false;
            };
            view.link(link).is_some_and(|link| link.remote_type == Some(NodeType::Normal))
        })
    }

    /// Closes the node and waits until the driver is idle.
    pub fn end(self) {
        self.process.close(self.node).unwrap();
        self.driver.join();
    }
}

/// Where a client that a test started finds its socket.
const SOCKET: &str = "IPCZ_TEST_SOCKET";

/// Starts the running test binary again, as a client: its ignored test `client_process` is to call [`client_of_a_test`].
pub fn start_own_client(broker: &Program) -> (Child, Handle) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "client_process"]).stdout(Stdio::null());
    broker.start(command, |command, number| {
        command.env(SOCKET, number.to_string());
    })
}

/// The body of a client that [`start_own_client`] started.
pub fn client_of_a_test() {
    #[allow(clippy::disallowed_methods, reason = "the parent told us so")]
    let number = std::env::var(SOCKET).expect("started by another test").parse().unwrap();
    // SAFETY: this is what spawn() told this process, and here it is taken up.
    #[allow(unsafe_code)]
    let socket = unsafe { unix::inherited(number) }.unwrap();
    client(socket).unwrap();
}

/// What a client does until it is told to end: commands come through the portal to the broker.
pub fn client(socket: OwnedFd) -> Outcome<()> {
    let program = Program::new(NodeType::Normal);
    let broker = program.join_broker(socket);
    // Once the broker is gone nobody says "end".
    while let Ok(command) = program.get(broker) {
        let portal = command.handles.first().copied();
        let answer = match (&command.data[..], portal) {
            (b"lead", Some(portal)) => lead(&program, portal, &Lengths::default()),
            (b"lead for long", Some(portal)) => lead(&program, portal, &Lengths::measured()),
            (b"echo", Some(portal)) => {
                program.put(broker, b"ready", &[])?;
                echo(&program, portal)
            }
            (b"flood", Some(portal)) => flood(&program, portal, broker),
            (b"hello", None) => Ok("hello".into()),
            _ => break,
        };
        let answer = answer.unwrap_or_else(|error| format!("FAILED: {error}"));
        program.put(broker, answer.as_bytes(), &[])?;
    }
    program.end();
    Ok(())
}

/// How much is said.
pub struct Lengths {
    pub pings: u32,
    pub stream: u32,
}

impl Default for Lengths {
    fn default() -> Lengths {
        Lengths { pings: 500, stream: 5_000 }
    }
}

impl Lengths {
    pub fn measured() -> Lengths {
        Lengths { pings: 50_000, stream: 1_000_000 }
    }
}

/// What comes back as it is; anything else is counted, and the count told on demand.
const ECHO: u8 = b'e';
const COUNT: u8 = b'c';
const TELL: u8 = b't';

/// Answers until the peer closes, then says how it was.
pub fn echo(program: &Program, portal: Handle) -> Outcome<String> {
    let mut count = 0u64;
    let mut direct = false;
    loop {
        let parcel = match program.get(portal) {
            Ok(parcel) => parcel,
            Err(Error::NotFound) => break,
            Err(error) => return Err(format!("get: {error}")),
        };
        match parcel.data.first() {
            Some(&COUNT) => count += 1,
            Some(&TELL) => {
                direct = program.is_direct(portal) && program.leads_to_a_client(portal);
                program.put(portal, &std::mem::take(&mut count).to_le_bytes(), &[])?;
            }
            _ => program.put(portal, &parcel.data, &[])?,
        }
    }
    close(program, portal)?;
    Ok(format!("echoed until its peer closed; linked to {}", if direct { "a client" } else { "the broker" }))
}

fn close(program: &Program, portal: Handle) -> Outcome<()> {
    program.process.close(portal).map_err(|error| format!("close: {error}"))
}

/// Sizes on both sides of every border: inside the message, in blocks, too large for any block.
const SIZES: [usize; 12] = [0, 1, 100, 240, 241, 1000, 4096, 20_000, 65_536, 300_000, 2_000_000, 9_000_000];

/// Talks with a peer that echoes, and says how it went.
pub fn lead(program: &Program, portal: Handle, lengths: &Lengths) -> Outcome<String> {
    let now = || program.clock.now().0;
    let started = now();
    let mut trips = 0;
    while !program.is_direct(portal) {
        program.ask(portal, b"direct?", &[])?;
        trips += 1;
        if trips > 100_000 {
            return Err("the route never became direct".into());
        }
    }
    let direct = now() - started;

    let mut bytes = 0;
    for size in SIZES.iter().chain(SIZES.iter().rev()) {
        let mut data: Vec<u8> = (0..*size).map(|i| (i * 7 + size) as u8).collect();
        if let Some(first) = data.first_mut() {
            *first = ECHO;
        }
        if program.ask(portal, &data, &[])? != data {
            return Err(format!("{size} bytes came back damaged"));
        }
        bytes += 2 * size;
    }

    let began = now();
    for i in 0..lengths.pings {
        let ping = [&[ECHO][..], &i.to_le_bytes(), &[0; 59]].concat();
        if program.ask(portal, &ping, &[])? != ping {
            return Err(format!("ping {i} came back as another"));
        }
    }
    let ping = (now() - began) as f64 / 1000.0 / f64::from(lengths.pings);

    let mut rates = Vec::new();
    for size in [64, 1000, 16_000] {
        let parcels = lengths.stream.min(lengths.stream * 640 / size);
        let (rate, megabytes) = stream(program, portal, parcels, size as usize)?;
        rates.push(format!("{size} bytes: {rate:.0}/s ({megabytes:.0} MB/s)"));
    }
    let buffers = program.process.inspect(|view| view.links().iter().map(|link| link.buffers).max().unwrap_or(0));
    if buffers < 2 {
        return Err("no link memory was added: nothing large went through shared memory".into());
    }
    if !program.is_direct(portal) {
        return Err("the route is no longer direct".into());
    }
    let far = if program.leads_to_a_client(portal) { "a client" } else { "the broker" };
    close(program, portal)?;
    Ok(format!(
        "linked to {far} after {trips} round trips and {:.1} ms; {:.1} MB echoed; link memory of {buffers} buffers; \
         round trip of 64 bytes {ping:.1} us; parcels one way of {}",
        direct as f64 / 1e6,
        bytes as f64 / 1e6,
        rates.join(", of ")
    ))
}

/// Sends parcels one way, a few batches ahead of what the peer has confirmed: parcels and megabytes a second.
fn stream(program: &Program, portal: Handle, parcels: u32, size: usize) -> Outcome<(f64, f64)> {
    const BATCH: u32 = 100;
    const AHEAD: u32 = 4;
    let data = vec![COUNT; size];
    let confirm = || match program.get(portal) {
        Ok(parcel) if parcel.data == u64::from(BATCH).to_le_bytes() => Ok(()),
        Ok(parcel) => Err(format!("the peer counted {:?} of {BATCH}", parcel.data)),
        Err(error) => Err(format!("no count: {error}")),
    };
    let began = program.clock.now().0;
    let batches = parcels / BATCH;
    for batch in 0..batches {
        if batch >= AHEAD {
            confirm()?;
        }
        for _ in 0..BATCH {
            program.put(portal, &data, &[])?;
        }
        program.put(portal, &[TELL], &[])?;
    }
    for _ in 0..batches.min(AHEAD) {
        confirm()?;
    }
    let seconds = (program.clock.now().0 - began) as f64 / 1e9;
    let rate = f64::from(batches * BATCH) / seconds;
    Ok((rate, rate * size as f64 / 1e6))
}

/// Talks for ever, telling the broker once the route is direct: ends when the peer is gone.
fn flood(program: &Program, portal: Handle, broker: Handle) -> Outcome<String> {
    let data = vec![ECHO; 3000];
    let mut told = false;
    loop {
        for _ in 0..50 {
            if program.put(portal, &data, &[]).is_err() {
                break;
            }
        }
        for _ in 0..50 {
            match program.get(portal) {
                Ok(_) => {}
                Err(Error::NotFound) => {
                    close(program, portal)?;
                    return Ok("the peer is gone".into());
                }
                Err(error) => return Err(format!("get: {error}")),
            }
        }
        if !told && program.is_direct(portal) {
            program.put(broker, b"flooding", &[])?;
            told = true;
        }
    }
}

/// Talks with both clients until no proxy is left here.
pub fn settle(program: &Program, clients: &[Handle]) -> Outcome<()> {
    for _ in 0..100_000 {
        if program.process.inspect(|view| view.proxies()) == 0 {
            return Ok(());
        }
        for client in clients {
            program.ask(*client, b"hello", &[])?;
        }
    }
    Err("a proxy stayed at the broker".into())
}

/// Waits for a client to end; whether it ended well.
pub fn ended_well(child: &mut Child) -> bool {
    child.wait().is_ok_and(|status| status.success())
}

/// The scenario abc: the broker hands two clients the ends of a pipe; they talk, and end up linked directly.
pub fn three(start: impl Fn(&Program) -> (Child, Handle), lead: &[u8]) -> Outcome<Vec<String>> {
    let program = Program::new(NodeType::Broker);
    let (mut a, to_a) = start(&program);
    let (mut c, to_c) = start(&program);
    let (p, q) = program.process.open_portals(program.node).map_err(|error| error.to_string())?;
    let ready = program.ask(to_c, b"echo", &[q])?;
    let told = program.ask(to_a, lead, &[p])?;
    let echoed = program.get(to_c).map_err(|error| format!("C says nothing: {error}"))?.data;
    settle(&program, &[to_a, to_c])?;
    let routers = program.process.inspect(|view| view.router_count());
    program.put(to_a, b"end", &[])?;
    program.put(to_c, b"end", &[])?;
    let ended = (ended_well(&mut a), ended_well(&mut c));
    program.end();
    let lines = vec![
        format!("A {}", String::from_utf8_lossy(&told)),
        format!("C {}", String::from_utf8_lossy(&echoed)),
        format!("B has {routers} routers, none a proxy"),
    ];
    let direct = echoed.ends_with(b"a client");
    if ready == b"ready" && told.starts_with(b"linked to a client") && direct && routers == 2 && ended == (true, true) {
        Ok(lines)
    } else {
        Err(format!("{}; clients ended well: {ended:?}", lines.join("; ")))
    }
}

/// Two processes: the broker leads, its client echoes.
pub fn two(start: impl Fn(&Program) -> (Child, Handle), lengths: &Lengths) -> Outcome<Vec<String>> {
    let program = Program::new(NodeType::Broker);
    let (mut a, to_a) = start(&program);
    let (p, q) = program.process.open_portals(program.node).map_err(|error| error.to_string())?;
    program.ask(to_a, b"echo", &[q])?;
    let told = lead(&program, p, lengths)?;
    let echoed = program.get(to_a).map_err(|error| format!("A says nothing: {error}"))?.data;
    program.put(to_a, b"end", &[])?;
    let ended = ended_well(&mut a);
    program.end();
    if ended { Ok(vec![format!("B {told}"), format!("A {}", String::from_utf8_lossy(&echoed))]) } else { Err("A did not end well".into()) }
}
