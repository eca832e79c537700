//! What somebody who wrote an unknown name may have meant, and how a message says so.

/// The candidate most like `name`, if any is like it at all.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    best(candidates.into_iter().map(|candidate| (likeness(name, candidate), candidate)))
}

/// The end of a message about an unknown name: `` ; did you mean `nearest`? ``, or nothing.
pub fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |nearest| format!("; did you mean `{nearest}`?"))
}

/// The candidate most like the path `key`: a right name in the wrong table counts nearly as much
/// as a misspelt name in the right one.
pub(crate) fn nearest_key(key: &str, candidates: Vec<String>) -> Option<String> {
    let (table, name) = split(key);
    best(candidates.into_iter().map(|known| {
        let (known_table, known_name) = split(&known);
        // Compared by their last names: common tables would make all their keys alike.
        let by_name = likeness(name, known_name) * (0.9 + 0.1 * likeness(table, known_table));
        // `optimizer_momentum` is `optimizer.momentum`; a common beginning alone means nothing.
        let as_a_whole = 0.9 * strsim::normalized_levenshtein(key, &known);
        (by_name.max(as_a_whole), known)
    }))
}

/// A path as its table and the name in it.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('.').unwrap_or(("", path))
}

fn likeness(a: &str, b: &str) -> f64 {
    let (a, b) = (a.to_lowercase(), b.to_lowercase());
    let alike = strsim::jaro_winkler(&a, &b);
    // Jaro's measure sees nothing in `sdg` of `sgd`: its window has no room in so short a word.
    let one_slip = a.chars().count() >= 3 && strsim::osa_distance(&a, &b) == 1;
    if one_slip { alike.max(0.8) } else { alike }
}

/// The likeliest of the candidates that are alike enough to be worth a suggestion.
fn best<T>(candidates: impl Iterator<Item = (f64, T)>) -> Option<T> {
    candidates
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_or_none() {
        let names = ["lenet5", "alexnet", "resnet18"];

        assert_eq!(nearest("LeNet", names), Some("lenet5"));
        assert_eq!(nearest("resnet81", names), Some("resnet18"));
        assert_eq!(nearest("quux", names), None);
        assert_eq!(nearest("sdg", ["sgd", "adam", "adamw"]), Some("sgd"));
    }

    #[test]
    fn a_key_is_compared_by_its_last_name_and_then_by_its_table() {
        let nearest = |key| {
            let known = [
                "epochs",
                "optimizer.name",
                "optimizer.learning_rate",
                "optimizer.momentum",
                "schedule.name",
                "schedule.warmup_epochs",
            ];
            nearest_key(key, known.map(str::to_owned).to_vec())
        };

        assert_eq!(nearest("optimizer.lr").as_deref(), Some("optimizer.learning_rate"));
        assert_eq!(nearest("optimiser.nam").as_deref(), Some("optimizer.name"));
        assert_eq!(nearest("shedule.name").as_deref(), Some("schedule.name"));
        assert_eq!(nearest("momentum").as_deref(), Some("optimizer.momentum"));
        assert_eq!(nearest("optimizer_momentum").as_deref(), Some("optimizer.momentum"));
        assert_eq!(nearest("optimizer.xyzzy"), None);
    }

    #[test]
    fn without_a_nearest_name_nothing_is_suggested() {
        assert_eq!(did_you_mean(Some("lenet5")), "; did you mean `lenet5`?");
        assert_eq!(did_you_mean(None), "");
    }
}
