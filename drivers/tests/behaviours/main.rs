//! The behaviours of spec/api.md 17, by number, through the table of `IpczGetAPI`, over each of our drivers: several nodes in this process,
//! joined by the driver under test. Each is one function; which drivers it runs over is not its business.
//!
//! ```text
//! cargo test -p ipcz-drivers --test behaviours            # all
//! cargo test -p ipcz-drivers --test behaviours n154       # one behaviour over all drivers
//! cargo test -p ipcz-drivers --test behaviours socket     # all over one driver
//! ```
#![cfg(target_os = "linux")]
#![allow(unsafe_code, clippy::undocumented_unsafe_blocks, reason = "a C program in Rust: what it passes lives until the call returns")]
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "waits for threads, but not for ever, and asks on which one it is")]

mod api;
mod boxes;
mod gets;
mod loading;
mod misuse;
mod nodes;
mod portals;
mod puts;
mod routing;
mod traps;
mod two_phase_gets;
mod two_phase_puts;
mod world;

use world::{Over, World};

/// All behaviours.
mod all {
    pub use super::boxes::*;
    pub use super::gets::*;
    pub use super::loading::*;
    pub use super::misuse::*;
    pub use super::nodes::*;
    pub use super::portals::*;
    pub use super::puts::*;
    pub use super::routing::*;
    pub use super::traps::*;
    pub use super::two_phase_gets::*;
    pub use super::two_phase_puts::*;
}

fn run(over: Over, behaviour: fn(&World)) {
    let world = World::new(over);
    behaviour(&world);
    world.end();
}

macro_rules! every {
    ($with:ident) => {
        $with! {
            n001 n002 n003 n004 n005 n006 n007 n008 n009 n010 n011 n012 n013 n014 n015 n016 n017 n018 n019 n020
            n021 n022 n023 n024 n025 n026 n027 n028 n029 n030 n031 n032 n033 n034 n035 n036 n037 n038 n039 n040
            n041 n042 n043 n044 n045 n046 n047 n048 n049 n050 n051 n052 n053 n054 n055 n056 n057 n058 n059 n060
            n061 n062 n063 n064 n065 n066 n067 n068 n069 n070 n071 n072 n073 n074 n075 n076 n077 n078 n079 n080
            n081 n082 n083 n084 n085 n086 n087 n088 n089 n090 n091 n092 n093 n094 n095 n096 n097 n098 n099 n100
            n101 n102 n103 n104 n105 n106 n107 n108 n109 n110 n111 n112 n113 n114 n115 n116 n117 n118 n119 n120
            n121 n122 n123 n124 n125 n126 n127 n128 n129 n130 n131 n132 n133 n134 n135 n136 n137 n138 n139 n140
            n141 n142 n143 n144 n145 n146 n147 n148 n149 n150 n151 n152 n153 n154 n155 n156 n157 n158 n159 n160
            n161 n162 n163 n164 n165 n166 n167 n168 n169 n170 n171 n172 n173 n174 n175 n176 n177 n178 n179 n180
            n181 n182 n183 n184 n185
        }
    };
}

/// What is not in that section.
macro_rules! others {
    ($with:ident) => {
        $with! {
            am09_a_serializer_that_calls_back_and_answers_otherwise_each_time
            am15_a_driver_that_says_ok_and_gives_nothing
            am15_a_driver_that_notifies_when_it_must_not
            am17_sizes_that_overflow
        }
    };
}

macro_rules! tests {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                crate::run(OVER, crate::all::$name);
            }
        )*
    };
}

macro_rules! names {
    ($($name:ident)*) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

every!(names);

macro_rules! over {
    ($($driver:ident: $over:ident),* $(,)?) => {
        $(
            mod $driver {
                const OVER: crate::Over = crate::world::$over;
                every!(tests);
                others!(tests);
            }
        )*
    };
}

over! {
    synchronous: SYNCHRONOUS,
    asynchronous: ASYNCHRONOUS,
    socket: SOCKET,
    brokering: BROKERING,
    delegated: DELEGATED,
    brokering_delegated: BROKERING_DELEGATED,
}

#[test]
fn every_behaviour_of_the_specification_is_here() {
    let spec = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/spec/api.md")).unwrap();
    let (_, section) = spec.split_once("\n## 17. ").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let asked = section.lines().filter_map(|line| line.split_once(". ")?.0.parse::<usize>().ok());
    let asked: Vec<String> = asked.map(|number| format!("n{number:03}")).collect();
    assert_eq!(asked.len(), 185);
    assert_eq!(NAMES, asked);
}
