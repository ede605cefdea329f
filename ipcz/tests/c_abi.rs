//! The C ABI as C and C++ programs meet it: header, exported symbols, sizes, and behaviour by the numbers of api.md 17.
//!
//! Needs a C and a C++ compiler; where one is missing its part is left out, and a line says so and how to get it.
#![cfg(target_os = "linux")]

use std::fmt::Write;
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

/// Builds the libraries once, in a folder of their own: the one of this very build is locked.
fn libraries() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let target = scratch().join("target");
        for kind in ["cdylib", "staticlib"] {
            let mut cargo = Command::new(env!("CARGO"));
            cargo.current_dir(root()).env("CARGO_TARGET_DIR", &target);
            run(cargo.args(["rustc", "--quiet", "-p", "ipcz", "--features", "capi", "--crate-type", kind]));
        }
        target.join("debug")
    })
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}\n{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// The compilers and standards at hand, as (compiler, language, standard).
fn compilers() -> Vec<(&'static str, &'static str, &'static str)> {
    let all = [("cc", "c", "c99"), ("cc", "c", "c11"), ("c++", "c++", "c++11"), ("c++", "c++", "c++17"), ("c++", "c++", "c++20")];
    let there = |compiler: &str| Command::new(compiler).arg("--version").output().is_ok_and(|output| output.status.success());
    let (found, missing): (Vec<_>, Vec<_>) = all.into_iter().partition(|(compiler, ..)| there(compiler));
    if let Some((compiler, ..)) = missing.first() {
        println!("no {compiler}: its tests are left out; on Debian: apt install gcc g++");
    }
    found
}

/// Compiles a program without warnings; `link` are the arguments after the source.
fn compile(program: &Path, (compiler, language, standard): (&str, &str, &str), to: &Path, link: &[&str]) {
    let mut command = Command::new(compiler);
    command.args(["-x", language, &format!("-std={standard}"), "-Wall", "-Wextra", "-pedantic", "-Werror"]);
    command.arg("-I").arg(root().join("include")).arg("-I").arg(root().join("tests/c"));
    run(command.arg(program).args(["-x", "none"]).args(link).arg("-o").arg(to));
}

#[test]
fn a_c_program_finds_everything_as_api_md_says() {
    std::fs::create_dir_all(scratch()).unwrap();
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
fn the_shared_library_exports_one_symbol() {
    let Ok(nm) = Command::new("nm").args(["-D", "--defined-only"]).arg(libraries().join("libipcz.so")).output() else {
        println!("no nm: exported symbols are not looked at; on Debian: apt install binutils");
        return;
    };
    let text = String::from_utf8(nm.stdout).unwrap();
    let names: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().last()).collect();
    assert_eq!(names, ["IpczGetAPI"]);
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
