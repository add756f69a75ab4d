//! Units of `{{convert}}`: their names, and one in terms of the other.

/// What a unit measures; only units of the same kind convert into each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quantity {
    Length,
    Area,
    Volume,
    Mass,
    Speed,
    Temperature,
    TemperatureChange,
    Pressure,
    Power,
    Energy,
    Force,
    Torque,
    PerArea,
    Density,
    Flow,
}

/// A unit of measurement.
#[derive(Debug)]
pub(super) struct Unit {
    /// As it is abbreviated: `km`.
    pub(super) symbol: &'static str,
    /// As it is written out: `kilometre`.
    pub(super) singular: &'static str,
    pub(super) plural: &'static str,
    pub(super) quantity: Quantity,
    /// In SI units.
    factor: f64,
    /// Added after multiplying, for temperatures.
    offset: f64,
    /// What it is converted to where nothing is said.
    pub(super) default: &'static str,
}

const fn unit(
    symbol: &'static str,
    singular: &'static str,
    plural: &'static str,
    quantity: Quantity,
    factor: f64,
    default: &'static str,
) -> Unit {
    Unit { symbol, singular, plural, quantity, factor, offset: 0.0, default }
}

const fn degrees(symbol: &'static str, name: &'static str, factor: f64, offset: f64, default: &'static str) -> Unit {
    Unit { symbol, singular: name, plural: name, quantity: Quantity::Temperature, factor, offset, default }
}

use Quantity::{
    Area, Density, Energy, Flow, Force, Length, Mass, PerArea, Power, Pressure, Speed, TemperatureChange, Torque,
    Volume,
};

/// Codes of a unit, separated by spaces, and the unit.
const UNITS: &[(&str, Unit)] = &[
    ("mm мм", unit("mm", "millimetre", "millimetres", Length, 1e-3, "in")),
    ("cm см", unit("cm", "centimetre", "centimetres", Length, 1e-2, "in")),
    ("dm", unit("dm", "decimetre", "decimetres", Length, 1e-1, "in")),
    ("m metre meter м", unit("m", "metre", "metres", Length, 1.0, "ft")),
    ("km км", unit("km", "kilometre", "kilometres", Length, 1e3, "mi")),
    ("um µm μm", unit("μm", "micrometre", "micrometres", Length, 1e-6, "in")),
    ("nm", unit("nm", "nanometre", "nanometres", Length, 1e-9, "in")),
    ("in inch дюйм", unit("in", "inch", "inches", Length, 0.0254, "mm")),
    ("ft foot feet фут", unit("ft", "foot", "feet", Length, 0.3048, "m")),
    ("yd yard", unit("yd", "yard", "yards", Length, 0.9144, "m")),
    ("mi mile миля ми", unit("mi", "mile", "miles", Length, 1609.344, "km")),
    ("nmi", unit("nmi", "nautical mile", "nautical miles", Length, 1852.0, "km mi")),
    ("fathom", unit("fathom", "fathom", "fathoms", Length, 1.8288, "ft m")),
    ("furlong", unit("furlong", "furlong", "furlongs", Length, 201.168, "ft m")),
    ("chain", unit("chain", "chain", "chains", Length, 20.1168, "ft m")),
    ("AU", unit("AU", "astronomical unit", "astronomical units", Length, 149_597_870_700.0, "km mi")),
    ("ly", unit("ly", "light-year", "light-years", Length, 9.460_730_472_580_8e15, "pc")),
    ("pc", unit("pc", "parsec", "parsecs", Length, 3.085_677_581_491_4e16, "ly")),
    ("mm2 sqmm", unit("mm²", "square millimetre", "square millimetres", Area, 1e-6, "sqin")),
    ("cm2 sqcm", unit("cm²", "square centimetre", "square centimetres", Area, 1e-4, "sqin")),
    ("m2 sqm м2", unit("m²", "square metre", "square metres", Area, 1.0, "sqft")),
    ("km2 sqkm км2", unit("km²", "square kilometre", "square kilometres", Area, 1e6, "sqmi")),
    ("ha hectare га", unit("ha", "hectare", "hectares", Area, 1e4, "acre")),
    ("acre acres", unit("acres", "acre", "acres", Area, 4_046.856_422_4, "ha")),
    ("sqin in2", unit("sq in", "square inch", "square inches", Area, 6.4516e-4, "cm2")),
    ("sqft ft2", unit("sq ft", "square foot", "square feet", Area, 0.092_903_04, "m2")),
    ("sqyd yd2", unit("sq yd", "square yard", "square yards", Area, 0.836_127_36, "m2")),
    ("sqmi mi2", unit("sq mi", "square mile", "square miles", Area, 2_589_988.110_336, "km2")),
    ("sqnmi", unit("sq nmi", "square nautical mile", "square nautical miles", Area, 3_429_904.0, "km2")),
    ("cm3 cc", unit("cm³", "cubic centimetre", "cubic centimetres", Volume, 1e-6, "cuin")),
    ("m3", unit("m³", "cubic metre", "cubic metres", Volume, 1.0, "cuft")),
    ("km3", unit("km³", "cubic kilometre", "cubic kilometres", Volume, 1e9, "cumi")),
    ("L l litre liter", unit("L", "litre", "litres", Volume, 1e-3, "impgal USgal")),
    ("ml mL", unit("ml", "millilitre", "millilitres", Volume, 1e-6, "impoz USoz")),
    ("cuin in3", unit("cu in", "cubic inch", "cubic inches", Volume, 1.638_706_4e-5, "cm3")),
    ("cuft ft3", unit("cu ft", "cubic foot", "cubic feet", Volume, 0.028_316_846_592, "m3")),
    ("cuyd yd3", unit("cu yd", "cubic yard", "cubic yards", Volume, 0.764_554_857_984, "m3")),
    ("cumi mi3", unit("cu mi", "cubic mile", "cubic miles", Volume, 4.168_181_825_440_58e9, "km3")),
    ("acre.ft acre·ft", unit("acre⋅ft", "acre-foot", "acre-feet", Volume, 1_233.481_837_547_52, "m3")),
    ("usgal USgal U.S.gal US.gal", unit("US gal", "US gallon", "US gallons", Volume, 3.785_411_784e-3, "L impgal")),
    ("impgal imp.gal", unit("imp gal", "imperial gallon", "imperial gallons", Volume, 4.546_09e-3, "L USgal")),
    (
        "usoz USoz U.S.oz US.oz USfloz U.S.floz",
        unit("US fl oz", "US fluid ounce", "US fluid ounces", Volume, 2.957_352_956_25e-5, "ml"),
    ),
    (
        "impoz imp.oz impfloz",
        unit("imp fl oz", "imperial fluid ounce", "imperial fluid ounces", Volume, 2.841_306_25e-5, "ml"),
    ),
    ("oilbbl bbl", unit("bbl", "barrel", "barrels", Volume, 0.158_987_294_928, "m3")),
    ("mg", unit("mg", "milligram", "milligrams", Mass, 1e-6, "gr")),
    ("g gram г", unit("g", "gram", "grams", Mass, 1e-3, "oz")),
    ("kg кг", unit("kg", "kilogram", "kilograms", Mass, 1.0, "lb")),
    ("t tonne MT т", unit("t", "tonne", "tonnes", Mass, 1e3, "LT ST")),
    ("gr", unit("gr", "grain", "grains", Mass, 6.479_891e-5, "mg")),
    ("oz", unit("oz", "ounce", "ounces", Mass, 0.028_349_523_125, "g")),
    ("lb lbs", unit("lb", "pound", "pounds", Mass, 0.453_592_37, "kg")),
    ("st stone", unit("st", "stone", "stone", Mass, 6.350_293_18, "lb kg")),
    ("LT long_ton", unit("long tons", "long ton", "long tons", Mass, 1_016.046_908_8, "t")),
    ("ST short_ton", unit("short tons", "short ton", "short tons", Mass, 907.184_74, "t")),
    ("m/s", unit("m/s", "metre per second", "metres per second", Speed, 1.0, "ft/s")),
    ("km/s", unit("km/s", "kilometre per second", "kilometres per second", Speed, 1e3, "mi/s")),
    ("km/h kph kmh км/ч км/год", unit("km/h", "kilometre per hour", "kilometres per hour", Speed, 1.0 / 3.6, "mph")),
    ("mph", unit("mph", "mile per hour", "miles per hour", Speed, 0.447_04, "km/h")),
    ("mi/s", unit("mi/s", "mile per second", "miles per second", Speed, 1609.344, "km/s")),
    ("kn knot", unit("kn", "knot", "knots", Speed, 1852.0 / 3600.0, "km/h mph")),
    ("ft/s ftps", unit("ft/s", "foot per second", "feet per second", Speed, 0.3048, "m/s")),
    ("ft/min", unit("ft/min", "foot per minute", "feet per minute", Speed, 0.005_08, "m/min")),
    ("m/min", unit("m/min", "metre per minute", "metres per minute", Speed, 1.0 / 60.0, "ft/min")),
    ("C °C degC", degrees("°C", "°C", 1.0, 273.15, "F")),
    ("F °F degF", degrees("°F", "°F", 5.0 / 9.0, 459.67 * 5.0 / 9.0, "C")),
    ("K °K", degrees("K", "K", 1.0, 0.0, "C F")),
    ("C-change", unit("°C", "°C", "°C", TemperatureChange, 1.0, "F-change")),
    ("F-change", unit("°F", "°F", "°F", TemperatureChange, 5.0 / 9.0, "C-change")),
    ("Pa", unit("Pa", "pascal", "pascals", Pressure, 1.0, "psi")),
    ("hPa", unit("hPa", "hectopascal", "hectopascals", Pressure, 1e2, "inHg")),
    ("kPa", unit("kPa", "kilopascal", "kilopascals", Pressure, 1e3, "psi")),
    ("MPa", unit("MPa", "megapascal", "megapascals", Pressure, 1e6, "psi")),
    ("GPa", unit("GPa", "gigapascal", "gigapascals", Pressure, 1e9, "psi")),
    ("bar", unit("bar", "bar", "bars", Pressure, 1e5, "kPa")),
    ("mbar", unit("mbar", "millibar", "millibars", Pressure, 1e2, "inHg")),
    ("atm", unit("atm", "standard atmosphere", "standard atmospheres", Pressure, 101_325.0, "kPa")),
    ("psi", unit("psi", "pound per square inch", "pounds per square inch", Pressure, 6_894.757_293_168, "kPa")),
    ("inHg", unit("inHg", "inch of mercury", "inches of mercury", Pressure, 3_386.388_640_341, "kPa")),
    ("mmHg", unit("mmHg", "millimetre of mercury", "millimetres of mercury", Pressure, 133.322_387_415, "kPa")),
    ("W", unit("W", "watt", "watts", Power, 1.0, "hp")),
    ("kW", unit("kW", "kilowatt", "kilowatts", Power, 1e3, "hp")),
    ("MW", unit("MW", "megawatt", "megawatts", Power, 1e6, "hp")),
    ("hp", unit("hp", "horsepower", "horsepower", Power, 745.699_871_582_27, "kW")),
    ("bhp", unit("bhp", "brake horsepower", "brake horsepower", Power, 745.699_871_582_27, "kW")),
    ("shp", unit("shp", "shaft horsepower", "shaft horsepower", Power, 745.699_871_582_27, "kW")),
    ("ihp", unit("ihp", "indicated horsepower", "indicated horsepower", Power, 745.699_871_582_27, "kW")),
    ("PS", unit("PS", "metric horsepower", "metric horsepower", Power, 735.498_75, "kW")),
    ("J", unit("J", "joule", "joules", Energy, 1.0, "cal")),
    ("kJ", unit("kJ", "kilojoule", "kilojoules", Energy, 1e3, "kcal")),
    ("MJ", unit("MJ", "megajoule", "megajoules", Energy, 1e6, "kWh")),
    ("cal", unit("cal", "calorie", "calories", Energy, 4.184, "J")),
    ("kcal Cal", unit("kcal", "kilocalorie", "kilocalories", Energy, 4184.0, "kJ")),
    ("kWh kW.h", unit("kWh", "kilowatt-hour", "kilowatt-hours", Energy, 3.6e6, "MJ")),
    ("ftlb ftlbf", unit("ft⋅lbf", "foot-pound", "foot-pounds", Energy, 1.355_817_948_331_4, "J")),
    ("N", unit("N", "newton", "newtons", Force, 1.0, "lbf")),
    ("kN", unit("kN", "kilonewton", "kilonewtons", Force, 1e3, "lbf")),
    ("lbf", unit("lbf", "pound-force", "pounds-force", Force, 4.448_221_615_260_5, "N")),
    ("kgf", unit("kgf", "kilogram-force", "kilograms-force", Force, 9.806_65, "N lbf")),
    ("Nm N.m", unit("N⋅m", "newton-metre", "newton-metres", Torque, 1.0, "lbft")),
    ("lbft lb.ft lbfft", unit("lb⋅ft", "pound-foot", "pound-feet", Torque, 1.355_817_948_331_4, "Nm")),
    ("/km2 PD/km2 /sqkm", unit("/km²", "per square kilometre", "per square kilometre", PerArea, 1e-6, "/sqmi")),
    ("/sqmi PD/sqmi", unit("/sq mi", "per square mile", "per square mile", PerArea, 1.0 / 2_589_988.110_336, "/km2")),
    ("/ha", unit("/ha", "per hectare", "per hectare", PerArea, 1e-4, "/acre")),
    ("/acre", unit("/acre", "per acre", "per acre", PerArea, 1.0 / 4_046.856_422_4, "/ha")),
    ("kg/m3", unit("kg/m³", "kilogram per cubic metre", "kilograms per cubic metre", Density, 1.0, "lb/cuyd")),
    ("g/cm3", unit("g/cm³", "gram per cubic centimetre", "grams per cubic centimetre", Density, 1e3, "lb/cuin")),
    ("lb/cuin", unit("lb/cu in", "pound per cubic inch", "pounds per cubic inch", Density, 27_679.904_710_2, "g/cm3")),
    ("lb/cuft", unit("lb/cu ft", "pound per cubic foot", "pounds per cubic foot", Density, 16.018_463_37, "kg/m3")),
    ("lb/cuyd", unit("lb/cu yd", "pound per cubic yard", "pounds per cubic yard", Density, 0.593_276_421_3, "kg/m3")),
    ("m3/s", unit("m³/s", "cubic metre per second", "cubic metres per second", Flow, 1.0, "cuft/s")),
    ("cuft/s", unit("cu ft/s", "cubic foot per second", "cubic feet per second", Flow, 0.028_316_846_592, "m3/s")),
    ("L/s l/s", unit("L/s", "litre per second", "litres per second", Flow, 1e-3, "cuft/s")),
];

/// The unit of a code, a symbol or a name.
pub(super) fn find(code: &str) -> Option<&'static Unit> {
    let code = code.trim();
    let of_code = |(codes, unit): &(&str, Unit)| codes.split(' ').any(|known| known == code) || unit.symbol == code;
    let of_name = |(_, unit): &(&str, Unit)| {
        let name = code.replace("meter", "metre").replace("liter", "litre");
        unit.singular == name || unit.plural == name
    };
    let found = UNITS.iter().find(|row| of_code(row)).or_else(|| UNITS.iter().find(|row| of_name(row)));
    found.map(|(_, unit)| unit)
}

/// The symbols of all units.
#[cfg(test)]
pub(super) fn symbols() -> impl Iterator<Item = &'static str> {
    UNITS.iter().map(|(_, unit)| unit.symbol)
}

impl Unit {
    /// A value of this unit in another of the same quantity.
    pub(super) fn convert(&self, value: f64, to: &Unit) -> Option<f64> {
        (self.quantity == to.quantity).then(|| (value * self.factor + self.offset - to.offset) / to.factor)
    }

    /// How many of another unit one of this is, of the same quantity.
    pub(super) fn in_units_of(&self, other: &Unit) -> f64 {
        self.factor / other.factor
    }

    /// How many digits behind the point a converted value has where the value itself was given with `digits` of them
    /// (negative: zeros at its end). It is about as precise as the value, and never less than two significant digits;
    /// temperatures have three of the absolute one. Feet and pounds from a whole number are as precise as the unit of that
    /// (<https://en.wikipedia.org/wiki/Help:Convert#Default_rounding>).
    pub(super) fn digits(&self, digits: f64, value: f64, to: &Unit, converted: f64) -> i32 {
        if self.quantity == Quantity::Temperature {
            let kelvins = (value * self.factor + self.offset).abs();
            let least = if kelvins < 1e-8 { 2 } else { 2 - floor_log10(kelvins) };
            return (digits.floor() as i32).max(least);
        }
        if value == 0.0 || converted == 0.0 {
            return 0;
        }
        let precise = matches!(to.symbol, "ft" | "lb") && value.fract() == 0.0;
        let change = if precise { -self.factor.log10() } else { (value / converted).abs().log10() };
        about(digits + change, converted)
    }

    /// The same for a value of which this is the smaller of two units, as in `5 ft 11 in`; feet and inches are known to the inch.
    pub(super) fn digits_behind_another(&self, digits: f64, value: f64, to: &Unit, converted: f64) -> i32 {
        if value == 0.0 || converted == 0.0 {
            return 0;
        }
        let change = if self.symbol == "in" { to.factor.log10() + 2.0 } else { (value / converted).abs().log10() };
        about(digits + change, converted)
    }
}

/// Digits behind the point of a converted value, by its ratio to a value given with `digits` of them.
pub(super) fn digits_by_ratio(digits: f64, value: f64, converted: f64) -> i32 {
    if value == 0.0 || converted == 0.0 {
        return 0;
    }
    about(digits + (value / converted).abs().log10(), converted)
}

/// Digits behind the point of a value that is known to so many, with what a factor of two is worth, and at least two
/// significant ones.
fn about(digits: f64, value: f64) -> i32 {
    let known = (digits + 2f64.log10() + 1e-12).floor() as i32;
    known.max(digits_of_significant(value, 2))
}

/// How many digits behind the point so many significant digits are.
pub(super) fn digits_of_significant(value: f64, significant: i32) -> i32 {
    if value == 0.0 { 0 } else { significant.clamp(1, 15) - 1 - floor_log10(value.abs()) }
}

fn floor_log10(value: f64) -> i32 {
    // A shade more, so that what is 1 but for rounding counts as 1.
    (value.log10() + 1e-12).floor() as i32
}

/// A value rounded to so many digits behind the point (or before it, if negative).
pub(super) fn rounded(value: f64, digits: i32) -> String {
    let digits = digits.clamp(-15, 15);
    // A shade farther from zero, so that what is a half but for the binary system counts as one: 6.35.
    let value = value * (1.0 + 1e-14);
    if digits >= 0 {
        return format!("{value:.*}", digits as usize);
    }
    let unit = 10f64.powi(-digits);
    format!("{:.0}", (value / unit).round() * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: f64, digits: i32, from: &str, to: &str) -> String {
        let (from, to) = (find(from).unwrap(), find(to).unwrap());
        let converted = from.convert(value, to).unwrap();
        rounded(converted, from.digits(f64::from(digits), value, to, converted))
    }

    #[test]
    fn values_are_converted_as_precisely_as_they_are_given() {
        assert_eq!(shown(10.0, -1, "km", "mi"), "6.2");
        assert_eq!(shown(1000.0, -3, "km", "mi"), "620");
        assert_eq!(shown(5.0, 0, "mi", "km"), "8.0");
        assert_eq!(shown(37.5, 1, "C", "F"), "99.5");
        assert_eq!(shown(100.0, -2, "C", "F"), "212");
        assert_eq!(shown(-40.0, -1, "F", "C"), "-40");
        assert_eq!(shown(1500.0, -2, "m", "ft"), "4900");
        assert_eq!(shown(450.0, -1, "m", "ft"), "1480");
        assert_eq!(shown(93.0, 0, "m", "ft"), "305");
        assert_eq!(shown(93.5, 1, "m", "ft"), "307");
        assert_eq!(shown(67.0, 0, "kg", "lb"), "148");
        assert_eq!(shown(1500.0, -2, "C", "F"), "2730");
        assert_eq!(shown(12.0, 0, "ha", "acre"), "30");
        assert_eq!(shown(0.25, 2, "in", "mm"), "6.4");
    }

    #[test]
    fn codes_are_unambiguous_and_defaults_exist() {
        let mut codes: Vec<&str> = UNITS.iter().flat_map(|(codes, _)| codes.split(' ')).collect();
        codes.sort_unstable();
        assert!(codes.windows(2).all(|pair| pair[0] != pair[1]));
        for (codes, unit) in UNITS {
            for default in unit.default.split(' ') {
                assert!(find(default).is_some_and(|other| other.quantity == unit.quantity), "{codes}: {default}");
            }
        }
    }
}
