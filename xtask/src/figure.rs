use anyhow::Result;
use plotters::prelude::{
    BLACK, ChartBuilder, Circle, IntoDrawingArea, IntoLogRange, RGBColor, SVGBackend, WHITE,
};

/// Values of one method, layer by layer.
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) values: Vec<f64>,
}

/// Draws values above 0 by layer on a logarithmic axis, as SVG.
pub(crate) fn by_layer(title: &str, axis: &str, series: &[Series]) -> Result<String> {
    const SIZE: (u32, u32) = (900, 480);
    const COLORS: [RGBColor; 4] = [
        RGBColor(120, 120, 120),
        RGBColor(214, 39, 40),
        RGBColor(31, 119, 180),
        RGBColor(44, 160, 44),
    ];
    let layers = series.iter().map(|series| series.values.len()).max().unwrap_or(0);
    let values = || series.iter().flat_map(|series| &series.values).copied();
    let (least, most) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(36)
            .y_label_area_size(70)
            .build_cartesian_2d(0.0..layers as f64 + 1.0, (least / 1.5..most * 1.5).log_scale())?;
        chart
            .configure_mesh()
            .x_desc("layer, by name")
            .y_desc(axis)
            .max_light_lines(2)
            .y_label_formatter(&|value| format!("{value:.0e}"))
            .draw()?;
        for (series, color) in series.iter().zip(COLORS) {
            let points = series.values.iter().enumerate();
            chart
                .draw_series(points.map(|(layer, value)| {
                    Circle::new((layer as f64 + 1.0, *value), 4, color_style(color))
                }))?
                .label(series.name.clone())
                .legend(move |(x, y)| Circle::new((x + 8, y), 4, color_style(color)));
        }
        // In the corner where it hides the fewest points.
        chart
            .configure_series_labels()
            .position(plotters::chart::SeriesLabelPosition::LowerLeft)
            .border_style(BLACK)
            .background_style(WHITE)
            .draw()?;
        area.present()?;
    }
    Ok(text)
}

fn color_style(color: RGBColor) -> plotters::style::ShapeStyle {
    plotters::style::Color::filled(&color)
}
