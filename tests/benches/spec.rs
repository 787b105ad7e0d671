//! Spec files: how many bytes of tasks.md are read in a second, of the files that people wrote where they lie
//! beside the repository and of made ones in their shapes otherwise, and how long a plan of 10,000 tasks
//! takes until it is ordered and may be registered.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]

mod measure;

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use measure::{Bound, exit, median, row, shown, verdict};
use necro_host::clock::{Clock, SystemClock};
use necro_host::spec::{TaskFile, plan};

const ROUNDS: usize = 21;
/// So many bytes at least are read in a round.
const ROUND_BYTES: usize = 16_000_000;
const READ_BOUND: Bound = Bound::AtLeast(100.0);
const TASKS: usize = 10_000;
const PLAN_BOUND: Bound = Bound::AtMost(20.0);

fn main() -> Result<ExitCode> {
    let clock = SystemClock::default();
    let (from, files) = match corpus()? {
        files if files.is_empty() => ("made", (0..200).map(|file| made(50 + file % 100, Order::File)).collect()),
        files => ("of people", files),
    };
    let bytes: usize = files.iter().map(Vec::len).sum();
    println!("Reading tasks.md");
    row("files", format!("{} {from}", files.len()));
    row("bytes", bytes);
    let passes = ROUND_BYTES.div_ceil(bytes.max(1));
    let mut speeds = Vec::new();
    for _ in 0..ROUNDS {
        let start = clock.elapsed();
        for file in (0..passes).flat_map(|_| &files) {
            black_box(TaskFile::read(black_box(file)));
        }
        let took = clock.elapsed() - start;
        speeds.push((passes * bytes) as f64 / 1e6 / took.as_secs_f64());
    }
    let mut holds = vec![verdict("read", median(&speeds), " MB/s", READ_BOUND)];
    for (name, order) in
        [("in file order", Order::File), ("with _Depends_", Order::Depends), ("in waves", Order::Waves)]
    {
        let file = made(TASKS, order);
        println!("A plan of {TASKS} tasks {name}, {} bytes", file.len());
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let start = clock.elapsed();
            let plan = black_box(plan(black_box(&file)));
            times.push(clock.elapsed() - start);
            anyhow::ensure!(plan.tasks.len() == TASKS && !plan.has_errors(), "{:?}", plan.diagnostics.first());
        }
        let middle = median(&times);
        row("read and ordered", shown(middle));
        holds.push(verdict("the same", middle.as_secs_f64() * 1e3, " ms", PLAN_BOUND));
    }
    Ok(exit(&holds))
}

/// Every tasks.md that lies beside the repository; none where there are none.
fn corpus() -> Result<Vec<Vec<u8>>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus/kiro");
    let mut files = Vec::new();
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|name| name == "tasks.md") {
                files.push(fs::read(path)?);
            }
        }
    }
    Ok(files)
}

/// What orders the tasks of a made file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    File,
    Depends,
    Waves,
}

/// A plan of `tasks` tasks, five to a parent, with the details and fields that most files have.
fn made(tasks: usize, order: Order) -> Vec<u8> {
    let mut text = String::from("# Implementation Plan: Shop\n\n## Overview\n\nA shop for everything.\n\n## Tasks\n\n");
    let mut leaves = Vec::new();
    for task in 0..tasks {
        let (parent, part) = (task / 6 + 1, task % 6);
        if part == 0 {
            text.push_str(&format!("- [ ] {parent}. Build the part of the shop that has number {parent}\n"));
            continue;
        }
        let id = format!("{parent}.{part}");
        text.push_str(&format!(
            "  - [{}]{} {id} Implement the handler `handle_{parent}_{part}` and its checks\n    \
             - Read the request and refuse what is too large\n    - Write the answer as JSON: status, items, total\n    \
             - _Requirements: {}.1, {}.2_\n",
            if task % 3 == 0 { 'x' } else { ' ' },
            if part == 5 { "*" } else { "" },
            parent % 40 + 1,
            parent % 40 + 1,
        ));
        if order == Order::Depends {
            let before = leaves.last().map_or("none", String::as_str);
            text.push_str(&format!("    - _Depends: {before}_\n"));
        }
        if part != 5 {
            leaves.push(id);
        }
        if part == 5 {
            text.push('\n');
        }
    }
    if order == Order::Waves {
        let wave = |(number, leaves): (usize, &[String])| {
            let names: Vec<String> = leaves.iter().map(|leaf| format!("\"{leaf}\"")).collect();
            format!("{{\"id\":{number},\"tasks\":[{}]}}", names.join(","))
        };
        let waves: Vec<String> = leaves.chunks(8).enumerate().map(wave).collect();
        text.push_str(&format!("\n## Task Dependency Graph\n\n```json\n{{\"waves\":[{}]}}\n```\n", waves.join(",")));
    }
    text.into_bytes()
}
