//! The architecture guards itself: what the documents promise about the tree is asserted here. Needs no server.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every file of the tree that is ours, with its path from the root.
fn files(below: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if matches!(name.as_str(), "target" | ".git" | ".daybook" | "node_modules") {
            continue;
        }
        if path.is_dir() {
            files(&path, into);
        } else {
            into.push(path);
        }
    }
}

fn sources() -> Vec<(String, String)> {
    let mut all = Vec::new();
    files(&root(), &mut all);
    all.into_iter()
        .filter(|p| p.extension().is_some_and(|e| e == "rs"))
        .map(|p| (p.strip_prefix(root()).unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(&p).unwrap()))
        .collect()
}

fn manifest(name: &str) -> toml::Table {
    std::fs::read_to_string(root().join(name).join("Cargo.toml")).unwrap().parse().unwrap()
}

#[test]
fn tidy_crates_depend_only_on_what_lies_below_them() {
    let allowed: BTreeMap<&str, &[&str]> = [
        ("domain", &[][..]),
        ("infra", &[]),
        ("commands", &["domain", "infra"]),
        ("projections", &["domain", "infra"]),
        ("gateway", &["domain", "infra", "commands", "projections"]),
    ]
    .into();
    for (name, below) in &allowed {
        let manifest = manifest(name);
        let dependencies = manifest["dependencies"].as_table().unwrap();
        for other in allowed.keys() {
            assert!(!dependencies.contains_key(*other) || below.contains(other), "{name} must not depend on {other}");
        }
    }
}

#[test]
fn tidy_domain_does_no_io() {
    let manifest = manifest("domain");
    let allowed = ["chrono", "cqrs-es", "serde", "serde_json", "thiserror", "uuid"];
    for name in manifest["dependencies"].as_table().unwrap().keys() {
        assert!(allowed.contains(&name.as_str()), "domain depends on {name}: does it do I/O?");
    }
}

#[test]
fn tidy_files_are_named_by_their_subject_and_stay_readable() {
    for (path, text) in sources() {
        let stem = Path::new(&path).file_stem().unwrap().to_str().unwrap();
        assert!(!matches!(stem, "util" | "utils" | "common" | "helper" | "helpers" | "misc"), "{path}: name the subject");
        assert!(text.lines().count() <= 800, "{path} has more than 800 lines: which two subjects are in it?");
    }
}

#[test]
fn tidy_nothing_is_left_open() {
    // Written apart, so that this file does not find itself.
    let marks = [
        ["TO", "DO"].concat(),
        ["FIX", "ME"].concat(),
        ["todo", "!("].concat(),
        ["unimplemented", "!("].concat(),
        ["#[ign", "ore"].concat(),
    ];
    for (path, text) in sources() {
        for mark in &marks {
            assert!(!text.contains(mark.as_str()), "{path} has {mark}");
        }
        let sleeps = ["sleep", "("].concat();
        if path.starts_with("tests/") && !path.ends_with("e2e/shop.rs") && !path.contains("src/bin") {
            assert!(!text.contains(&sleeps), "{path} sleeps: wait for a position");
        }
    }
}

#[test]
fn tidy_every_event_has_its_golden_file() {
    use domain::event::Event;
    let golden: BTreeSet<String> =
        std::fs::read_dir(root().join("domain/golden")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    let types = [
        domain::catalog::ProductEvent::TYPES,
        domain::catalog::CategoryEvent::TYPES,
        domain::inventory::StockEvent::TYPES,
        domain::cart::CartEvent::TYPES,
        domain::order::OrderEvent::TYPES,
        domain::payment::PaymentEvent::TYPES,
        domain::setting::SettingEvent::TYPES,
        domain::promotion::PromotionEvent::TYPES,
        domain::merchandising::MerchandisingEvent::TYPES,
        domain::customer::SubjectEvent::TYPES,
        domain::claim::ClaimEvent::TYPES,
    ];
    for (name, version) in types.into_iter().flatten() {
        for v in 1..=*version {
            assert!(golden.contains(&format!("{name}.v{v}.json")), "domain/golden/{name}.v{v}.json is missing");
        }
    }
}

/// Migrations and golden files are for ever: their checksums are listed, and the list only grows.
#[test]
fn tidy_what_was_written_for_ever_has_not_changed() {
    let list = std::fs::read_to_string(root().join("tests/e2e/frozen.txt")).unwrap();
    let listed: BTreeMap<&str, &str> = list.lines().filter_map(|l| l.split_once("  ").map(|(sum, path)| (path, sum))).collect();
    let mut all = Vec::new();
    files(&root().join("infra/migrations"), &mut all);
    files(&root().join("domain/golden"), &mut all);
    for path in all {
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        let sum = fnv(&std::fs::read(&path).unwrap());
        assert_eq!(
            listed.get(name.as_str()).copied(),
            Some(sum.as_str()),
            "{name}: add a new file instead, and its line `{sum}  {name}` to tests/e2e/frozen.txt"
        );
    }
}

/// FNV-1a, 64 bit: tells a change, needs no library.
fn fnv(bytes: &[u8]) -> String {
    format!("{:016x}", bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3)))
}

#[test]
fn tidy_the_readme_tells_the_truth_about_the_makefile() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let makefile = std::fs::read_to_string(root().join("Makefile")).unwrap();
    for word in readme.split('`').filter_map(|w| w.strip_prefix("make ")) {
        let target = word.split_whitespace().next().unwrap();
        assert!(makefile.lines().any(|l| l.starts_with(&format!("{target}:"))), "README names `make {target}`");
    }
    for link in readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        if !link.contains("://") && !link.starts_with('#') {
            assert!(root().join(link.split('#').next().unwrap()).exists(), "README links to {link}");
        }
    }
}

/// Every path in back quotes exists, and every function that is named behind one is in it.
#[test]
fn tidy_the_architecture_names_what_is_there() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let crates = ["domain/", "infra/", "commands/", "projections/", "gateway/", "tests/"];
    let blocks = text.split("\n\n").flat_map(|block| block.split("\n|")).flat_map(|block| block.split("\n- "));
    let words = blocks.flat_map(|block| std::iter::once("").chain(block.split('`').skip(1).step_by(2)));
    let mut file = None;
    for word in words {
        if word.is_empty() || word.contains('<') {
            file = None;
        } else if crates.iter().any(|name| word.starts_with(name)) {
            assert!(root().join(word).exists(), "ARCHITECTURE.md names {word}");
            file = word.ends_with(".rs").then(|| word.to_owned());
        } else if let (Some(name), Some(path)) = (word.strip_suffix("()"), &file) {
            let mut source = std::fs::read_to_string(root().join(path)).unwrap();
            let folder = root().join(path.trim_end_matches(".rs"));
            if folder.is_dir() {
                let mut inside = Vec::new();
                files(&folder, &mut inside);
                source.extend(inside.iter().map(|p| std::fs::read_to_string(p).unwrap()));
            }
            assert!(source.contains(&format!("fn {name}")), "ARCHITECTURE.md names {name}() in {path}");
        }
    }
}
