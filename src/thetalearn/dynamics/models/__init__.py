"""Ready-made models, with exact solutions where there are any."""

from .aggregate import LawOfMotion, fit_law_of_motion, make_krusell_smith
from .business_cycles import make_business_cycle, make_rbc_labour
from .consumption import (
    borrowing_kinks,
    make_borrowing_limit,
    make_buffer_stock,
    make_cake_eating,
    make_income_fluctuation,
    make_perfect_foresight,
    make_permanent_income,
    make_persistent_income,
)
from .finance import make_burnside, make_lucas_tree, make_portfolio
from .generations import make_overlapping_generations
from .growth import (
    make_brock_mirman,
    make_brock_mirman_output,
    make_growth,
    make_leisure_growth,
    make_stochastic_brock_mirman,
)
from .linear_quadratic import make_investment, make_linear_quadratic
from .manufactured import make_manufactured, make_random_manufactured
from .multicountry import make_multicountry, multicountry_consumption
from .multisector import make_multisector
from .options import make_american_put, make_bermudan_max_call, perpetual_put, put_threshold
from .resources import make_escapement
from .search import make_mccall, reservation_wage

__all__ = [
    "LawOfMotion",
    "borrowing_kinks",
    "fit_law_of_motion",
    "make_american_put",
    "make_bermudan_max_call",
    "make_borrowing_limit",
    "make_brock_mirman",
    "make_brock_mirman_output",
    "make_buffer_stock",
    "make_burnside",
    "make_business_cycle",
    "make_cake_eating",
    "make_escapement",
    "make_growth",
    "make_income_fluctuation",
    "make_investment",
    "make_krusell_smith",
    "make_leisure_growth",
    "make_linear_quadratic",
    "make_lucas_tree",
    "make_manufactured",
    "make_mccall",
    "make_multicountry",
    "make_multisector",
    "make_overlapping_generations",
    "make_perfect_foresight",
    "make_permanent_income",
    "make_persistent_income",
    "make_portfolio",
    "make_random_manufactured",
    "make_rbc_labour",
    "make_stochastic_brock_mirman",
    "multicountry_consumption",
    "perpetual_put",
    "put_threshold",
    "reservation_wage",
]
