//! How the sensor works: from hooks in the kernel to outputs.

use super::drawing::Drawing;

/// A box: where it stands, how large it is, its name, and what it does.
type Part = ((usize, usize), (usize, usize), &'static str, &'static [&'static str]);

const PARTS: [Part; 8] = [
    ((20, 60), (150, 74), "connect, accept", &["hooks on sockets:", "name? network?"]),
    ((220, 60), (180, 74), "pending connections", &["one per process, LRU,", "with addresses and time"]),
    ((220, 190), (180, 74), "exec", &["hook on executions:", "pending? a shell?"]),
    ((470, 60), (150, 74), "ring", &["of connections"]),
    ((470, 190), (150, 74), "ring", &["of executions, each", "with its connection"]),
    ((680, 125), (150, 74), "correlate", &["decode, enrich,", "judge by the rules"]),
    ((880, 125), (130, 74), "alert", &["an ECS document"]),
    (
        (1060, 60),
        (160, 204),
        "outputs",
        &["standard output", "file", "journal", "syslog", "Elasticsearch", "", "each with its queue"],
    ),
];

/// From where to where data flows.
const ARROWS: [&[(usize, usize)]; 9] = [
    &[(170, 97), (220, 97)],
    &[(400, 97), (470, 97)],
    &[(310, 134), (310, 190)],
    &[(400, 227), (470, 227)],
    &[(620, 97), (650, 97), (650, 150), (680, 150)],
    &[(620, 227), (650, 227), (650, 175), (680, 175)],
    &[(830, 162), (880, 162)],
    &[(1010, 162), (1060, 162)],
    &[(310, 264), (310, 292)],
];

pub(super) fn picture() -> String {
    let mut drawing = Drawing::new(
        (1240, 330),
        "How the sensor works: the kernel decides what cannot matter, the user side what does",
    );
    drawing.text((20, 34), "ink strong", "kernel: decides what cannot matter");
    drawing.text((470, 34), "ink strong", "user side: decides what does");
    drawing.line(&[(435, 14), (435, 316)], false);
    for (at @ (x, y), size @ (width, _), name, lines) in PARTS {
        drawing.rectangle(at, size, "box", "");
        drawing.text((x + width / 2, y + 22), "ink strong middle", name);
        for (place, line) in lines.iter().enumerate() {
            drawing.text((x + width / 2, y + 42 + place * 18), "quiet middle", line);
        }
    }
    for arrow in ARROWS {
        drawing.line(arrow, true);
    }
    drawing.text((310, 310), "quiet middle", "everything else: counted, dropped");
    drawing.finish()
}
