//! No file uses a file that uses it, directly or by others: imports between the files of one room run one way.
//!
//! A path such as `super::codec::Lines` is followed to the file that defines its last name, through what the files on the
//! way import under that name. So a folder's `mod.rs` that hands names on is on no circle, and one whose own functions its
//! children call is, if it calls them too.

use std::collections::{BTreeMap, BTreeSet};

use crate::structure::{module, sources};

/// How many files of a room are still on circles. A number only ever falls, and a room without one has none.
const STILL_ON_CIRCLES: &[(&str, usize)] = &[];

/// The crate's files by their module's path, such as `cli::auth::login`.
struct Crate {
    files: BTreeMap<Vec<String>, File>,
}

struct File {
    name: String,
    text: String,
    /// What a name means here: the path that a `use` gives it.
    imports: BTreeMap<String, Vec<String>>,
}

fn path_of(file: &str) -> Vec<String> {
    let mut path: Vec<String> = file
        .trim_end_matches(".rs")
        .split('/')
        .map(str::to_owned)
        .collect();
    if path.last().is_some_and(|last| last == "mod") {
        path.pop();
    }
    path
}

/// With what a module within the file names as if the file named it.
fn without_inner_modules(text: &str) -> String {
    let mut inside = false;
    let lines = text.lines().map(|line| {
        let is_module =
            line.starts_with("mod ") || line.starts_with("pub") && line.contains(" mod ");
        inside = (inside && line != "}") || is_module && line.ends_with('{');
        if inside {
            line.replacen("super::", "self::", 1)
        } else {
            line.to_owned()
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Without the paths of visibilities, which use nothing.
fn without_visibilities(text: &str) -> String {
    let mut parts = text.split("pub(in ");
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        kept += "pub";
        kept += part.split_once(')').map_or(part, |(_, rest)| rest);
    }
    kept
}

/// Without what only tests compile: imports, and single functions up to the next item.
fn without_test_items(text: &str) -> (String, Vec<String>) {
    let (mut kept, mut test_modules) = (String::new(), Vec::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            kept += line;
            kept.push('\n');
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let mut first = true;
        for line in lines.by_ref() {
            let words: Vec<&str> = line.split([' ', ';']).collect();
            if let Some(at) = words.iter().position(|word| *word == "mod")
                && first
            {
                test_modules.extend(words.get(at + 1).map(|name| (*name).to_owned()));
            }
            first &= line.trim_start().starts_with("#[");
            let closes = line.len() - line.trim_start().len() == indent
                && (line.ends_with(';') || line.trim_start() == "}");
            if closes {
                break;
            }
        }
    }
    (kept, test_modules)
}

/// The paths in a `use` tree, each with the name that it gets.
fn leaves(tree: &str, before: &[String], found: &mut Vec<(String, Vec<String>)>) {
    let tree = tree.trim();
    if tree.is_empty() {
        return;
    }
    if let Some((head, inner)) = tree.split_once('{') {
        let mut path = before.to_vec();
        path.extend(segments(head.trim_end_matches("::")));
        let inner = inner.rsplit_once('}').map_or(inner, |(inner, _)| inner);
        let (mut depth, mut one) = (0, String::new());
        for c in inner.chars() {
            match c {
                ',' if depth == 0 => {
                    leaves(&one, &path, found);
                    one.clear();
                    continue;
                }
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            one.push(c);
        }
        leaves(&one, &path, found);
        return;
    }
    let (path, alias) = match tree.split_once(" as ") {
        Some((path, alias)) => (path, Some(alias.trim().to_owned())),
        None => (tree, None),
    };
    let mut full = before.to_vec();
    full.extend(segments(path));
    if full.last().is_some_and(|last| last == "self") {
        full.pop();
    }
    let name = alias.or_else(|| full.last().cloned());
    found.extend(name.map(|name| (name, full)));
}

fn segments(path: &str) -> impl Iterator<Item = String> {
    path.split("::")
        .map(|segment| segment.trim().to_owned())
        .filter(|segment| !segment.is_empty())
}

/// The imports of a text, and the text without them.
fn imports(text: &str) -> (BTreeMap<String, Vec<String>>, String) {
    let (mut found, mut rest) = (Vec::new(), String::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let start = line.trim_start();
        let visible = match start.strip_prefix("pub") {
            Some(rest) if rest.starts_with('(') => {
                rest.split_once(") ").map_or("", |(_, use_)| use_)
            }
            Some(rest) => rest.trim_start(),
            None => start,
        };
        let Some(tree) = visible.strip_prefix("use ") else {
            rest += line;
            rest.push('\n');
            continue;
        };
        let mut tree = tree.to_owned();
        while !tree.ends_with(';') {
            let Some(line) = lines.next() else { break };
            tree += line.trim();
        }
        leaves(tree.trim_end_matches(';'), &[], &mut found);
    }
    // A module within the file imports what the file itself names so.
    found.retain(|(name, path)| *path != ["self", name.as_str()]);
    (found.into_iter().collect(), rest)
}

impl Crate {
    fn read() -> Self {
        let sources: BTreeMap<String, String> = sources();
        let mut only_tests = BTreeSet::new();
        let mut files = BTreeMap::new();
        for (name, text) in &sources {
            let (text, test_modules) = without_test_items(text);
            let path = path_of(name);
            only_tests.extend(test_modules.into_iter().map(|one| {
                let mut path = path.clone();
                path.push(one);
                path
            }));
            let (imports, text) = imports(&without_inner_modules(&without_visibilities(&text)));
            let name = name.clone();
            files.insert(
                path,
                File {
                    name,
                    text,
                    imports,
                },
            );
        }
        files.retain(|path, _| !only_tests.iter().any(|tests| path.starts_with(tests)));
        Self { files }
    }

    /// The module of the file that defines what a path in module `from` names.
    fn follow(&self, from: &[String], path: &[String], depth: usize) -> Option<Vec<String>> {
        if depth > 8 {
            return None;
        }
        let (mut at, mut rest) = (from.to_vec(), path);
        let mut is_rooted = false;
        while let Some((first, tail)) = rest.split_first() {
            match first.as_str() {
                "crate" => at.clear(),
                "self" => {}
                "super" => {
                    at.pop();
                }
                _ => break,
            }
            is_rooted = true;
            rest = tail;
        }
        while let Some((first, tail)) = rest.split_first() {
            let mut child = at.clone();
            child.push(first.clone());
            if self.files.contains_key(&child) {
                at = child;
            } else if let Some(import) =
                self.files.get(&at).and_then(|file| file.imports.get(first))
                && import.last().is_none_or(|last| last != "*")
            {
                let mut whole = import.clone();
                whole.extend(tail.iter().cloned());
                return self.follow(&at, &whole, depth + 1);
            } else {
                let named_here = is_rooted || at != from;
                return named_here.then_some(at);
            }
            is_rooted = true;
            rest = tail;
        }
        is_rooted.then_some(at)
    }

    /// The modules that a file's text and imports lead to, each with the names that lead there.
    fn uses(&self, from: &[String], file: &File) -> BTreeMap<Vec<String>, BTreeSet<String>> {
        let mut used = BTreeMap::<_, BTreeSet<_>>::new();
        let mut note = |path: &[String]| {
            if let Some(at) = self.follow(from, path, 0) {
                used.entry(at).or_default().insert(path.join("::"));
            }
        };
        let mut by_path = BTreeSet::new();
        for path in paths(&file.text) {
            by_path.extend(path.first().cloned());
            note(&path);
        }
        for (name, path) in &file.imports {
            // A module that is imported is used by what is named in it.
            let is_module = self
                .follow(from, path, 0)
                .is_some_and(|at| at.last() == path.last());
            if !(is_module && by_path.contains(name)) {
                note(path);
            }
        }
        used.retain(|one, _| one != from && one.first() == from.first());
        used
    }
}

/// The paths of a text, such as `render::auth::done`.
fn paths(text: &str) -> BTreeSet<Vec<String>> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = text.split(|c: char| !word(c));
    let words = words.filter(|word| word.contains("::") && !word.starts_with("::"));
    words.map(|word| segments(word).collect()).collect()
}

/// The groups of files that reach each other, the largest first.
fn circles(arrows: &BTreeMap<String, BTreeSet<String>>) -> Vec<BTreeSet<String>> {
    let reach = |from: &String| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(file) = open.pop() {
            for next in arrows.get(&file).into_iter().flatten() {
                if seen.insert(next.clone()) {
                    open.push(next.clone());
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&String, _> = arrows.keys().map(|file| (file, reach(file))).collect();
    let mut found = BTreeSet::new();
    for (file, ends) in &reached {
        if ends.contains(*file) {
            let back = |end: &&String| reached.get(end).is_some_and(|ends| ends.contains(*file));
            found.insert(ends.iter().filter(back).cloned().collect::<BTreeSet<_>>());
        }
    }
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
    found
}

#[test]
fn files_of_a_room_use_each_other_one_way() {
    let all = Crate::read();
    let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut names = BTreeMap::new();
    for (path, file) in &all.files {
        let to = arrows.entry(file.name.clone()).or_default();
        for (path, by) in all.uses(path, file) {
            if let Some(used) = all.files.get(&path) {
                to.insert(used.name.clone());
                names.insert((&file.name, &used.name), by);
            }
        }
    }
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    let circles = circles(&arrows);
    for circle in &circles {
        let room = circle.iter().next().map_or("", |file| module(file));
        *found.entry(room).or_default() += circle.len();
        println!("{room}: {} files on a circle", circle.len());
        for file in circle {
            for to in arrows[file].intersection(circle) {
                println!("    {file} -> {to} by {:?}", names[&(file, to)]);
            }
        }
    }
    let expected: BTreeMap<_, _> = STILL_ON_CIRCLES.iter().copied().collect();
    assert_eq!(
        found, expected,
        "files on circles, by room: break the new ones above, or lower a number that has fallen"
    );
}
