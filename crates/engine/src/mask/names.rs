//! Fake names. Short ones, in ASCII, that many columns hold.

/// First names; as many as fit one byte's six bits.
pub(super) const FIRST: [&str; 64] = [
    "Ada", "Alan", "Alice", "Amara", "Anna", "Anton", "Aya", "Ben", "Bruno", "Carla", "Carlos", "Chen",
    "Clara", "Daniel", "David", "Diego", "Dora", "Elena", "Elif", "Emil", "Emma", "Erik", "Eva", "Farid",
    "Felix", "Fiona", "Grace", "Hana", "Hugo", "Ida", "Ines", "Ivan", "Jakob", "Jana", "John", "Julia",
    "Karim", "Karl", "Kim", "Lara", "Leo", "Lin", "Luca", "Maja", "Marco", "Maria", "Max", "Mia", "Nadia",
    "Nina", "Noah", "Nora", "Olga", "Omar", "Oscar", "Paula", "Pavel", "Rosa", "Sami", "Sara", "Sofia",
    "Tom", "Vera", "Yuki",
];

/// Last names.
pub(super) const LAST: [&str; 64] = [
    "Adams", "Ahmed", "Bach", "Baker", "Becker", "Bell", "Berg", "Brown", "Carter", "Castro", "Cho", "Clark",
    "Costa", "Cruz", "Diaz", "Duarte", "Engel", "Evans", "Fischer", "Fox", "Garcia", "Gray", "Haas", "Hall",
    "Hansen", "Hill", "Ito", "Jensen", "Jones", "Kaya", "Keller", "Kim", "King", "Klein", "Kovacs", "Lang",
    "Lee", "Lopez", "Mann", "Meyer", "Miller", "Moore", "Nagy", "Nguyen", "Novak", "Olsen", "Park", "Perez",
    "Popov", "Reed", "Rossi", "Russo", "Sato", "Silva", "Singh", "Smith", "Stone", "Tanaka", "Torres",
    "Vogel", "Wagner", "Weber", "Wolf", "Young",
];
