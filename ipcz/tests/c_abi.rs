//! The C ABI as C and C++ programs meet it: header, exported symbols, sizes, and behaviour by the numbers of api.md 17.
//!
//! Needs a C and a C++ compiler; where one is missing its part is left out, and a line says so and how to get it.
#![cfg(target_os = "linux")]

use std::fmt::Write;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn scratch() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("c_abi")
}

/// Builds and installs the libraries once, by a target folder of their own: the one of this very build is locked.
fn libraries() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        std::fs::create_dir_all(scratch()).unwrap();
        let mut script = Command::new(root().join("../scripts/c-library"));
        run(script.env("CARGO_TARGET_DIR", scratch().join("target")).arg("--debug").arg(scratch()));
        scratch().join("lib")
    })
}

/// Says something that a test that passes does not swallow.
fn say(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn run(command: &mut Command) -> String {
    // Cargo's own would find another library of this name.
    let output = command.env_remove("LD_LIBRARY_PATH").output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}\n{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Whether libraries can be made here.
fn has_binutils() -> bool {
    let there = Command::new("objcopy").arg("--version").output().is_ok_and(|output| output.status.success());
    if !there {
        say("no objcopy: the C library is not made; on Debian: apt install binutils");
    }
    there
}

/// The compilers and standards at hand, as (compiler, language, standard).
fn compilers() -> Vec<(&'static str, &'static str, &'static str)> {
    let all = [("cc", "c", "c99"), ("cc", "c", "c11"), ("c++", "c++", "c++11"), ("c++", "c++", "c++17"), ("c++", "c++", "c++20")];
    let there = |compiler: &str| Command::new(compiler).arg("--version").output().is_ok_and(|output| output.status.success());
    let (found, missing): (Vec<_>, Vec<_>) = all.into_iter().partition(|(compiler, ..)| there(compiler));
    if let Some((compiler, ..)) = missing.first() {
        say(&format!("no {compiler}: its tests are left out; on Debian: apt install gcc g++"));
    }
    found
}

/// Compiles a program without warnings; `link` are the arguments after the source.
fn compile(program: &Path, (compiler, language, standard): (&str, &str, &str), to: &Path, link: &[&str]) {
    let mut command = Command::new(compiler);
    command.args(["-x", language, &format!("-std={standard}"), "-Wall", "-Wextra", "-pedantic", "-Werror"]);
    command.arg("-I").arg(root().join("include")).arg("-I").arg(root().join("tests/c"));
    command.arg("-I").arg(root().join("../drivers/include"));
    run(command.arg(program).args(["-x", "none"]).args(link).arg("-o").arg(to));
}

#[test]
fn a_c_program_finds_everything_as_api_md_says() {
    if !has_binutils() {
        return;
    }
    let libraries = libraries();
    let dir = libraries.to_str().unwrap();
    let source = root().join("tests/c/calls.c");
    for with in compilers() {
        for (kind, link) in [
            ("shared", vec!["-L", dir, "-lipcz", "-Wl,-rpath", dir]),
            ("static", vec![&*format!("{dir}/libipcz.a"), "-lpthread", "-ldl", "-lm"]),
        ] {
            let program = scratch().join(format!("calls-{}-{kind}", with.2));
            compile(&source, with, &program, &link);
            let said = run(&mut Command::new(&program));
            assert_eq!(said, "all as api.md says\n", "{program:?}");
        }
    }
}

#[test]
fn two_processes_talk_over_our_driver() {
    let Some(with) = compilers().into_iter().next() else { return };
    if !has_binutils() {
        return;
    }
    let dir = libraries().to_str().unwrap();
    let source = root().join("../drivers/examples/ping_pong.c");
    let (archive, drivers) = (format!("{dir}/libipcz.a"), format!("{dir}/libipcz_drivers.a"));
    for (kind, link) in [
        ("shared", vec!["-L", dir, "-lipcz", "-lipcz_drivers", "-lpthread", "-Wl,-rpath", dir]),
        ("static", vec![&*archive, &*drivers, "-lpthread", "-ldl", "-lm"]),
    ] {
        let program = scratch().join(format!("ping-pong-{kind}"));
        compile(&source, with, &program, &link);
        assert_eq!(run(&mut Command::new(program)), "ping 1, pong\nping 2, pong\nping 3, pong\n", "{kind}");
    }
}

#[test]
fn what_cargo_c_installs_is_found_by_pkg_config() {
    let Some(with) = compilers().into_iter().next() else { return };
    let there = |program: &str| Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !there("cargo-cinstall") || !there("pkg-config") {
        return say("no cargo-c or no pkg-config: nothing is installed; cargo install cargo-c, on Debian apt install pkg-config");
    }
    let (prefix, target) = (scratch().join("installed"), scratch().join("target-c"));
    let _ = std::fs::remove_dir_all(&prefix);
    for package in ["ipcz", "ipcz-drivers"] {
        let mut cargo = Command::new("cargo-cinstall");
        cargo.current_dir(root()).env("CARGO_TARGET_DIR", &target).args(["cinstall", "--profile", "dev", "-p", package]);
        run(cargo.arg("--prefix").arg(&prefix).arg("--libdir").arg(prefix.join("lib")));
    }
    let lib = prefix.join("lib");
    let exported = run(Command::new("nm").args(["-D", "--defined-only", "--format=just-symbols"]).arg(lib.join("libipcz.so")));
    assert_eq!(exported, "IpczGetAPI\n");
    let flags = |of: &str| run(Command::new("pkg-config").env("PKG_CONFIG_PATH", lib.join("pkgconfig")).args(["--cflags", "--libs", of]));
    for (source, library, says) in [
        ("tests/c/calls.c", "ipcz", "all as api.md says\n"),
        ("../drivers/examples/ping_pong.c", "ipcz_drivers", "ping 1, pong\nping 2, pong\nping 3, pong\n"),
    ] {
        let program = scratch().join(format!("installed-{library}"));
        let mut compiler = Command::new(with.0);
        compiler.arg(root().join(source)).args(flags(library).split_whitespace()).arg("-lpthread");
        run(compiler.arg("-Wl,-rpath").arg(&lib).arg("-o").arg(&program));
        assert_eq!(run(&mut Command::new(&program)), says);
    }
}

#[test]
fn the_libraries_export_what_their_headers_declare() {
    if !has_binutils() {
        return;
    }
    let drivers = [
        "IpczInProcessDriver",
        "IpczInProcessDriverWith",
        "IpczUnixDriver",
        "IpczUnixFile",
        "IpczUnixSocketPair",
        "IpczUnixTakeFile",
        "IpczUnixTransport",
    ];
    for (library, expected) in [("libipcz", &["IpczGetAPI"][..]), ("libipcz_drivers", &drivers[..])] {
        for (suffix, flag) in [("so", "-D"), ("a", "-g")] {
            let library = libraries().join(format!("{library}.{suffix}"));
            let text = run(Command::new("nm").args([flag, "--defined-only"]).arg(&library));
            let mut names: Vec<&str> = text.lines().filter_map(|line| line.rsplit_once(" T ")).map(|(_, name)| name).collect();
            names.sort_unstable();
            let others: Vec<&str> = text.lines().filter(|line| line.split(' ').count() == 3 && !line.contains(" T ")).collect();
            assert_eq!((&names[..], others), (expected, vec![]), "{library:?}");
        }
    }
}

#[test]
fn the_hooks_tell_where_a_portal_s_link_leads() {
    let Some(with) = compilers().into_iter().next() else { return };
    // After the others: they share a target folder, and so the name of what is built.
    if has_binutils() {
        libraries();
    }
    let target = scratch().join("target");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root()).env("CARGO_TARGET_DIR", &target);
    run(cargo.args(["rustc", "--quiet", "-p", "ipcz", "--features", "test-hooks", "--crate-type", "cdylib"]));
    let lib = scratch().join("hooks");
    std::fs::create_dir_all(&lib).unwrap();
    std::fs::copy(target.join("debug/libipcz.so"), lib.join("libipcz.so")).unwrap();
    let (dir, program) = (lib.to_str().unwrap(), scratch().join("hooks-test"));
    compile(&root().join("tests/c/hooks.c"), with, &program, &["-L", dir, "-lipcz", "-Wl,-rpath", dir]);
    assert_eq!(run(&mut Command::new(program)), "all as api.md says\n");
}

#[test]
fn the_header_agrees_with_what_was_measured_of_the_original() {
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(root().join("tests/golden/abi.json")).unwrap()).unwrap();
    let mut checks = 0;
    let mut source = String::from("#include \"ipcz/ipcz.h\"\n#define CHECK(name, it) typedef char name[(it) ? 1 : -1]\n");
    let mut check = |source: &mut String, it: String| {
        checks += 1;
        writeln!(source, "CHECK(check_{checks}, {it});").unwrap();
    };
    let object = |value: &Value| value.as_object().unwrap().clone().into_iter();
    for (name, shape) in object(&golden["structs"]["lp64"]) {
        check(&mut source, format!("sizeof(struct {name}) == {}", shape["size"]));
        for field in shape["fields"].as_array().unwrap() {
            let member = field["name"].as_str().unwrap();
            check(&mut source, format!("offsetof(struct {name}, {member}) == {}", field["offset"]));
            check(&mut source, format!("sizeof(((struct {name}*)0)->{member}) == {}", field["size"]));
        }
    }
    for (name, constant) in object(&golden["constants"]) {
        check(&mut source, format!("{name} == {}u && sizeof({name}) == {}", constant["value"], constant["size_lp64"]));
    }
    let mut functions = 0;
    let mut function = |source: &mut String, name: &str, shape: &Value| {
        functions += 1;
        let params: Vec<&str> = shape["params"].as_array().unwrap().iter().map(|param| param.as_str().unwrap()).collect();
        // Assigning both ways fits equal types alone.
        writeln!(source, "typedef {} (*function_{functions})({});", shape["returns"].as_str().unwrap(), params.join(", ")).unwrap();
        writeln!(source, "void same_{functions}(function_{functions}* a) {{ {name}* b = a; a = b; (void)a; }}").unwrap();
    };
    for (name, shape) in object(&golden["types"]) {
        if shape["kind"] == "function pointer" {
            function(&mut source, &name, &shape);
        } else {
            check(&mut source, format!("sizeof({name}) == {}", shape["size_lp64"]));
        }
    }
    assert!(checks > 150 && functions == 5, "{checks} {functions}");
    std::fs::create_dir_all(scratch()).unwrap();
    let file = scratch().join("golden.c");
    source.push_str("int main(void) { return 0; }\n");
    std::fs::write(&file, source).unwrap();
    for with in compilers() {
        let (compiler, language, standard) = with;
        let mut command = Command::new(compiler);
        command.args([
            "-x",
            language,
            &format!("-std={standard}"),
            "-Werror",
            "-fsyntax-only",
            "-Wno-unused",
            "-Wno-unused-local-typedefs",
        ]);
        run(command.arg("-I").arg(root().join("include")).arg(&file));
    }
}
