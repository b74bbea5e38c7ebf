// Rates of a zip with task data at places, read by the npm package isoxml.
//
//     node read_taskdata.mjs FILE < '[[lon, lat], ...]'
//
// Prints JSON: warnings of the parser, and a rate per place in the unit that the file presents.
import { readFileSync } from 'node:fs'
import { ISOXMLManager } from 'isoxml'

const places = JSON.parse(readFileSync(0, 'utf8'))
const manager = new ISOXMLManager()
await manager.parseISOXMLFile(new Uint8Array(readFileSync(process.argv[2])), 'application/zip')
const task = manager.rootElement.attributes.Task[0]
const grid = task.attributes.Grid[0]
const { unit, scale } = task.getGridValuesDescription()[0]

function typeOne(lon, lat) {
  const g = grid.attributes
  const col = Math.floor((lon - g.GridMinimumEastPosition) / g.GridCellEastSize)
  const row = Math.floor((lat - g.GridMinimumNorthPosition) / g.GridCellNorthSize)
  if (col < 0 || row < 0 || col >= g.GridMaximumColumn || row >= g.GridMaximumRow) return 0
  const code = grid.binaryData[row * g.GridMaximumColumn + col]
  const zone = task.attributes.TreatmentZone.find((each) => each.attributes.TreatmentZoneCode === code)
  return zone.attributes.ProcessDataVariable[0].attributes.ProcessDataValue
}

function typeTwo() {
  const cells = task.getGridAsGeoJSON(['rate']).features.map((feature) => {
    const corners = feature.geometry.coordinates[0]
    return [corners[0], corners[2], feature.properties.rate]
  })
  return (lon, lat) => {
    const cell = cells.find(([low, high]) => lon >= low[0] && lon < high[0] && lat >= low[1] && lat < high[1])
    return cell ? cell[2] : 0
  }
}

const at = grid.attributes.GridType === '1' ? typeOne : typeTwo()
const rates = places.map(([lon, lat]) => at(lon, lat) * scale)
console.log(JSON.stringify({ warnings: manager.getWarnings(), unit, rates }))
