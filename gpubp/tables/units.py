"""Units that may stand beside a number in a table: currencies, percent and physical units."""

from __future__ import annotations

_SIGNS = (
    "$ € £ ¥ ₹ ₩ ₽ ₺ ₴ ₪ ₫ ฿ ₦ ₱ ₡ ₲ ₵ ₸ ₼ ₾ ¢ US$ C$ CA$ A$ AU$ NZ$ HK$ S$ R$ NT$ MX$ Fr Fr. kr kr. Kč zł Ft lei лв "
    "Rs Rs."
)
_CODES = (
    "AED ARS AUD BDT BGN BRL CAD CHF CLP CNY COP CZK DKK DZD EGP EUR GBP GEL HKD HUF IDR ILS INR ISK JPY KES KRW KWD "
    "KZT LKR MAD MXN MYR NGN NOK NZD OMR PEN PHP PKR PLN QAR RON RSD RUB RUR SAR SEK SGD THB TND TRY TWD UAH USD UYU "
    "VND ZAR"
)
_PARTS = "% ‰ ppm ppb dB k K M Mio Mrd bn"
_PHYSICAL = (
    "kg g mg µg μg ug t oz km m dm cm mm µm μm um nm mi ft in inch inches foot feet yd m² km² cm² mm² m2 km2 cm2 mm2 "
    "ha ft² ft2 sqft sqm sq.ft. m³ cm³ m3 cm3 l L dl cl ml mL gal cc CC °C °F ° ºC ºF s ms µs μs h km/h "
    "kmh kph mph m/s kn W kW MW GW Wh kWh MWh GWh kJ MJ cal kcal V mV kV mA mAh Ah Hz kHz MHz GHz bar mbar hPa kPa MPa "
    "psi mmHg kB KB MB GB TB Mbps px pt hp bhp PS rpm Nm N/m µg/m³ μg/m³ ug/m3 mg/l mg/L mg/dl mg/dL mmol/l mmol/L g/l "
    "g/L g/km kmpl km/l mpg l/100km L/100km"
)

_SPACED = ("sq ft", "sq. ft.", "sq m", "fl oz", "fl. oz.")
_COUNTED = "day week month year hour minute second sec min hr yr mo wk mile lb acre liter litre meter metre gram"

BEFORE = frozenset({*_SIGNS.split(), *_CODES.split(), "%"})
AFTER = frozenset({*BEFORE, *_CODES.lower().split(), *_PARTS.split(), *_PHYSICAL.split(), *_SPACED, *_COUNTED.split()})
PLURAL = r"^([a-z]{2,6})s$"  # of a unit that is counted, such as days
COUNTED = frozenset(_COUNTED.split())
CURRENCY_SIGNS = frozenset(_SIGNS.split())
